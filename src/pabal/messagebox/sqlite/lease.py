"""What a delivery of a box is known by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from pabal.model.transport import Delivery


class Lease(msgspec.Struct, eq=False, gc=False):
    """The row that was delivered, and until when it is certainly ours, by pabal's clock.

    One is made for each message, so it is what Python makes and forgets soonest: nothing in it leads back to it.
    """

    id: int
    until: float

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id})"


L = TypeVar("L", bound=Lease)


def lease_of(delivery: Delivery, kind: type[L]) -> L:
    """The lease under which a delivery was handed out; raises TypeError for what another reader delivered."""
    lease = delivery.token
    if not isinstance(lease, kind):
        raise TypeError(f"{delivery!r} is not from this subscription")
    return lease


def leases_of(deliveries: Iterable[Delivery], kind: type[L]) -> list[L]:
    """The leases of several; raises TypeError as `lease_of`."""
    return [lease if isinstance(lease := delivery.token, kind) else lease_of(delivery, kind) for delivery in deliveries]
