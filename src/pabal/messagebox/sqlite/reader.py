"""Who is given messages: a subscription as the thread knows it."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from pabal.messagebox.routing import PRIVATE
from pabal.messagebox.sqlite.lease import Lease
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.outcome import Settlement
from pabal.model.transport import Delivery, Settled, Source


class Reader(ABC):
    """A reader of one group; how it takes messages is its kind.

    All that takes a transaction is a job. What a job changes in the reader, it changes once that is committed.

    Attributes:
        source: the channel or pattern.
        group: the group's name; None for a listener.
        name: the name under which the group is kept: a private one for a listener.
        grp: the group's id.
        credit: how many more deliveries it may be given.
        deliver: called with deliveries in the event loop.
        refused: why it reads no more; None: it does.
        window: how many deliveries it may hold ready.
        lease: seconds that a delivery stays ours.
    """

    def __init__(self, source: Source, deliver: Callable[[list[Delivery]], object], *, lease: float) -> None:
        self.source = source.channel
        self.group = source.group
        self.name = PRIVATE + secrets.token_hex(8) if source.group is None else source.group
        self.window = source.window
        self.grp = 0
        self.credit = 0
        self.deliver = deliver
        self.refused: str | None = None
        self.lease = lease

    @abstractmethod
    def enter(self, transaction: Transaction) -> None:
        """Register, and make the group where it is new; raises ConfigurationError when it is read otherwise."""

    @abstractmethod
    def leave(self, transaction: Transaction, leases: Iterable[Lease], *, last: bool) -> None:
        """Give everything back; `last`: no other reader of the group is left in this process."""

    @abstractmethod
    def settle(self, transaction: Transaction, *, settled: Sequence[Settled]) -> list[Settlement]:
        """End deliveries; one settlement each."""

    @abstractmethod
    def extend(self, transaction: Transaction, *, leases: Sequence[Lease]) -> list[bool]:
        """Renew leases; returns for each whether it is still ours."""

    @abstractmethod
    def release(self, transaction: Transaction, *, leases: Iterable[Lease]) -> None:
        """Give back, uncounted, what is still ours."""
