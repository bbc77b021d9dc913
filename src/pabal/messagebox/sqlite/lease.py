"""What a delivery of a box is known by."""

from __future__ import annotations

from typing import TypeVar

from pabal.model.transport import Delivery


class Lease:
    """The row that was delivered, and until when it is certainly ours, by pabal's clock."""

    __slots__ = ("id", "until")

    def __init__(self, id: int, until: float) -> None:
        self.id = id
        self.until = until


L = TypeVar("L", bound=Lease)


def lease_of(delivery: Delivery, kind: type[L]) -> L:
    """The lease under which a delivery was handed out; raises TypeError for what another reader delivered."""
    lease = delivery.token
    if not isinstance(lease, kind):
        raise TypeError(f"{delivery!r} is not from this subscription")
    return lease
