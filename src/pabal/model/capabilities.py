"""What a transport can do by itself."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Any

import msgspec


class Settles(Enum):
    """How deliveries are settled at the transport, from the least to the most."""

    NONE = "none"
    CUMULATIVE = "cumulative"
    EACH = "each"


class Order(Enum):
    """What the transport keeps in order for an ordered group, from the least to the most."""

    NONE = "none"
    KEY = "key"
    CHANNEL = "channel"


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one opened transport does by itself, on its server as that is.

    A transport declares only what it does natively; the plan decides about the rest.

    Attributes:
        broadcast: each listening process gets a private copy.
        groups: a group's members divide a channel's messages; every group gets each message.
        durable: what `publish` took survives a restart of everything, and a group keeps its backlog.
        patterns: a source may be a pattern.
        settles: whether deliveries end one by one, up to a position, or not at all.
        order: what an ordered group keeps.
        counts_attempts: `Delivery.attempt` rises with every delivery that was not given back.
        counts_receivers: `Receipt.receivers` is a number.
        detects_unrouted: `Receipt.routed` is True or False.
        delays_retry: the wait before a retry (`Retried.after`) is kept by the transport.
        delays_publish: a delay (`Post.due`) is kept by the transport.
        requests: requests and their answers; implements `Requests`.
        enlists: publishes in the user's own transaction.
        parks: keeps dead letters itself; implements `Parks`.
        administers: lists and removes groups; implements `Administers`.
        examines: tells what its server is and what weakens it; implements `Examines`.
        replays: a subscription may choose its `start`.
        keeps_history: `Delivery.errors` has every failed attempt of the message.
        max_body: the largest body in bytes, or None where there is no limit.
    """

    broadcast: bool = False
    groups: bool = False
    durable: bool = False
    patterns: bool = False
    settles: Settles = Settles.NONE
    order: Order = Order.NONE
    counts_attempts: bool = False
    counts_receivers: bool = False
    detects_unrouted: bool = False
    delays_retry: bool = False
    delays_publish: bool = False
    requests: bool = False
    enlists: bool = False
    parks: bool = False
    administers: bool = False
    examines: bool = False
    replays: bool = False
    keeps_history: bool = False
    max_body: int | None = None

    def beyond(self, best: Capabilities) -> list[str]:
        """The fields in which this can more than `best`, sorted."""
        return sorted(
            field for field in self.__struct_fields__ if _rank(getattr(self, field)) > _rank(getattr(best, field))
        )


def _rank(value: Any) -> float:
    """How much one field's value is, among all that it can have."""
    if isinstance(value, Enum):
        return list(type(value)).index(value)
    return inf if value is None else value
