"""The promises, a file for each topic; importing this registers them all."""

from __future__ import annotations

from pabal.testing.topics import (
    administration,
    bodies,
    broadcast,
    dead_letters,
    delays,
    delivery,
    durability,
    groups,
    leases,
    lifecycle,
    limits,
    mending,
    on_dead,
    order,
    patterns,
    requests,
    routing,
    settling,
)

__all__ = [
    "administration",
    "bodies",
    "broadcast",
    "dead_letters",
    "delays",
    "delivery",
    "durability",
    "groups",
    "leases",
    "lifecycle",
    "limits",
    "mending",
    "on_dead",
    "order",
    "patterns",
    "requests",
    "routing",
    "settling",
]
