"""``memory://`` under observation: what was published, and whether anything still moves; for tests of handlers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pabal.model.address import Address
from pabal.model.clock import Clock
from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.message import Message
from pabal.model.outcome import Settlement
from pabal.model.transport import GroupId, GroupStatus, Post, Receipt, Settled, Source
from pabal.transports.memory.queue import Queue
from pabal.transports.memory.subscription import MemorySubscription
from pabal.transports.memory.transport import MemoryTransport

_NEVER = "memory://?lease=1e9"
"""Time may be turned far: no lease is to run out on the way."""


class WatchedTransport(MemoryTransport):
    """A private ``memory://`` that calls `settled` after each settlement, and notes what was published."""

    def __init__(self, *, clock: Clock, settled: Callable[[], None]) -> None:
        super().__init__(Address(_NEVER), clock=clock)
        self.published: list[Message] = []
        self._settled = settled

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        receipts = await super().publish(posts)
        self.published += [post.message for post, receipt in zip(posts, receipts, strict=True) if receipt.error is None]
        return receipts

    async def subscribe(self, source: Source, /) -> WatchedSubscription:  # type: ignore[override]  # it is one in all
        return WatchedSubscription(await super().subscribe(source), self._settled)

    def parked(self) -> list[DeadLetter]:
        """The dead letters, oldest first."""
        return list(self._broker.letters.find(LetterFilter()))

    def moving(self, groups: Collection[GroupId]) -> list[GroupStatus]:
        """Those of `groups` and of the listeners for whom something is ready, due or in hand."""
        now = self._clock.time()
        return [queue.status(queue.group or "") for queue in self._queues(groups) if not queue.is_still(now)]

    def is_still(self, groups: Collection[GroupId]) -> bool:
        """Whether nothing is `moving`."""
        now = self._clock.time()
        return all(queue.is_still(now) for queue in self._queues(groups))

    def _queues(self, groups: Collection[GroupId]) -> list[Queue]:
        return [*(queue for id, queue in self._broker.groups.items() if id in groups), *self._broker.listeners]


class WatchedSubscription:
    """A subscription that tells of each settlement, once it is recorded."""

    def __init__(self, inner: MemorySubscription, settled: Callable[[], None]) -> None:
        self._inner = inner
        self._settled = settled
        self.receive = inner.receive
        self.extend = inner.extend
        self.resize = inner.resize

    @property
    def lease(self) -> float | None:
        return self._inner.lease

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        settlements = await self._inner.settle(settled)
        self._settled()
        return settlements

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._settled()
