"""An honest transport that does less: to see that the kit asks no more of one than it declares."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.clock import Clock
from pabal.model.errors import CapabilityError
from pabal.model.names import is_pattern
from pabal.model.outcome import ACKED, Outcome, Retried, Settlement
from pabal.model.transport import Delivery, Post, Receipt, Settled, Source, Subscription, Transport
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport

LESS: dict[str, Any] = {
    "broadcast": False,
    "groups": False,
    "patterns": False,
    "settles": Settles.NONE,
    "order": Order.NONE,
    "counts_attempts": False,
    "counts_receivers": False,
    "detects_unrouted": False,
    "delays_retry": False,
    "delays_publish": False,
    "requests": False,
    "parks": False,
    "administers": False,
    "examines": False,
    "keeps_history": False,
}
"""Each flag that a modest transport may go without, as it then declares it."""

_METHODS = {
    "requests": ("replies", "request", "reply"),
    "parks": ("park", "letters", "causes", "redrive", "pending", "edit", "discard"),
    "administers": ("groups", "remove"),
    "examines": ("findings",),
}


class Modest(TamperedTransport):
    """A transport that goes without one capability, says so, and acts so."""

    def __init__(self, without: str, inner: Transport, clock: Clock, shared: dict[str, Any]) -> None:
        super().__init__(inner, clock, shared)
        self.without = without
        self.reading = _ModestSubscription

    async def open(self) -> Capabilities:
        """The capabilities but for one, and for what cannot be without it."""
        less = {self.without: LESS[self.without]}
        if self.without == "settles":
            less |= {name: LESS[name] for name in ("order", "counts_attempts", "delays_retry", "keeps_history")}
        return replace(await super().open(), **less)

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Without what is not declared."""
        if self.without == "delays_publish":
            refused = {p.message.id: CapabilityError("delays are not kept here") for p in posts if p.due is not None}
            receipts = iter(await super().publish([post for post in posts if post.due is None]))
            return [
                Receipt(p.message.id, error=refused[p.message.id]) if p.message.id in refused else next(receipts)
                for p in posts
            ]
        receipts_ = await super().publish(posts)
        if self.without == "counts_receivers":
            return [replace(receipt, receivers=None) for receipt in receipts_]
        if self.without == "detects_unrouted":
            return [replace(receipt, routed=None) for receipt in receipts_]
        return receipts_

    async def subscribe(self, source: Source, /) -> Subscription:
        """Refused where it needs what is not declared."""
        needed = {
            "broadcast": source.group is None,
            "groups": source.group is not None,
            "patterns": is_pattern(source.channel),
            "order": source.ordered,
            "settles": source.ordered,
        }
        if needed.get(self.without):
            raise CapabilityError(f"this transport is without {self.without}")
        return await super().subscribe(source)

    def __getattr__(self, name: str) -> Any:
        """Without the methods that are not declared."""
        if name in _METHODS.get(self.without, ()):
            raise AttributeError(name)
        return super().__getattr__(name)


class _ModestSubscription(TamperedSubscription):
    @property
    def lease(self) -> float | None:
        return None if self._without == "settles" else super().lease

    @property
    def _without(self) -> str:
        return str(getattr(self.transport, "without", ""))

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        got = await super().receive(limit)
        if self._without == "settles":
            await self.inner.settle([Settled(delivery, ACKED) for delivery in got])
        if self._without == "counts_attempts":
            return [replace(delivery, attempt=1) for delivery in got]
        if self._without == "keeps_history":
            return [replace(delivery, errors=()) for delivery in got]
        return got

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        if self._without == "settles":
            return [Settlement.DONE for _ in settled]
        return await super().settle([Settled(each.delivery, self._outcome(each.outcome)) for each in settled])

    def _outcome(self, outcome: Outcome) -> Outcome:
        if self._without == "delays_retry" and isinstance(outcome, Retried):
            return replace(outcome, after=0.0)
        return outcome


def modest(without: str) -> partial[Modest]:
    """What makes transports go without one capability."""
    return partial(Modest, without)
