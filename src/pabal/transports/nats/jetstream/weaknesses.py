"""What of a stream, as it is set up, lets messages go that nobody has handled."""

from __future__ import annotations

from typing import Any

from pabal.transports.nats.jetstream.api import NANO

_FULL = ("max_msgs", "max_bytes", "max_msgs_per_subject")
"""The limits at which a stream discards, as its configuration names them."""


def weaknesses(config: dict[str, Any]) -> list[str]:
    """Each way in which a stream loses or refuses messages, as the end of a sentence about it; none: it keeps all."""
    found: list[str] = []
    if config.get("storage") == "memory":
        found.append("is kept in memory: a restart of its server loses it")
    if config.get("retention") == "interest":
        found.append(
            "drops what no consumer takes at that moment (retention=interest): nothing waits for a first group"
        )
    if config.get("retention") == "workqueue":
        found.append("hands each message to one consumer (retention=workqueue): it has one group, and no listeners")
    limits = ", ".join(f"{name}={config[name]}" for name in _FULL if config.get(name, -1) > 0)
    if limits and config.get("discard") == "old":
        found.append(f"drops its oldest messages when it is full ({limits}, discard=old), handled or not")
    if config.get("max_age"):
        found.append(f"drops messages after {config['max_age'] / NANO:g} s (max_age), handled or not")
    if config.get("no_ack"):
        found.append("confirms no publish (no_ack): each publish fails when its time is over")
    return found
