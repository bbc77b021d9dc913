"""The boundary between a process and the store: what crosses it can be lost, doubled and late, and is written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextvars import Context
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeVar

from pabal.model.capabilities import Capabilities
from pabal.model.dead import LetterFilter
from pabal.model.errors import ConnectionFailed
from pabal.model.message import Message
from pabal.model.outcome import Acked, Outcome, Rejected, Released, Retried, Settlement
from pabal.model.transport import Delivery, GroupId, Post, Receipt, Settled, Source, Subscription
from pabal.testing.exploring.handling import CALL, Inside
from pabal.testing.exploring.places import here
from pabal.testing.exploring.process import Process

if TYPE_CHECKING:
    from pabal.testing.exploring.world import World

T = TypeVar("T")


class Boundary:
    """A process's transport: each call travels to the store, is done there, and its answer travels back.

    What is done there is done in the store's `context`, whatever becomes of the process meanwhile.
    """

    def __init__(self, world: World, process: Process, inner: Any, context: Context) -> None:
        self.world = world
        self.process = process
        self._inner = inner
        self._context = context

    @property
    def best(self) -> Capabilities:
        """As the store's."""
        best: Capabilities = self._inner.best
        return best

    def __str__(self) -> str:
        return self.world.store.url.partition("?")[0]

    def send(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let the store do `work`."""
        return self.world.loop.create_task(work, context=self._context.copy(), name="pabal exploring: at the store")

    async def there(self, work: Coroutine[Any, Any, T]) -> T:
        """What the store gives for `work`; raises ConnectionFailed once the run is judged."""
        if self.process.over:
            work.close()
            raise ConnectionFailed("the run is over")
        return await self.send(work)

    def resize(self, inner: Subscription, window: int) -> None:
        """Tell the store how much one may hold."""
        self._context.copy().run(inner.resize, window)

    async def open(self) -> Capabilities:
        """As the store's."""
        return await self.there(self._inner.open())

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Publish; before it and after it is a point."""
        world, ledger, call = self.world, self.world.ledger, CALL.get()
        names = ", ".join(f"{ledger.name(post.message)} on {post.message.channel}" for post in posts)
        place = here(None if call is None else call.code)
        who = "" if call is None else f"{call.name} "
        with Inside():
            twice = await world.points.reach(
                self.process, f"{who}publishes {names}", "it has not reached the store", place, doubles=True
            )
            receipts = await self.there(self._publish(posts))
            if twice:
                await self.there(self._publish(posts))
            known = ", ".join(_receipt(ledger.name(p.message), r) for p, r in zip(posts, receipts, strict=True))
            await world.points.reach(self.process, known, f"{who or self.process.name + ' '}has not been told", place)
        for post, receipt in zip(posts, receipts, strict=True):
            if receipt.error is None:
                ledger.acknowledged(post)
        return receipts

    async def _publish(self, posts: Sequence[Post]) -> Sequence[Receipt]:
        for post in posts:
            self.world.ledger.sent(post)
        receipts: Sequence[Receipt] = await self._inner.publish(posts)
        for post, receipt in zip(posts, receipts, strict=True):
            if receipt.error is None:
                self.world.ledger.taken(post)
        return receipts

    async def subscribe(self, source: Source, /) -> BoundarySubscription:
        """Subscribe; the ledger knows the group from then on."""
        inner = await self.there(self._inner.subscribe(source))
        if source.group is not None:
            self.world.ledger.joined(GroupId(source.channel, source.group))
        return BoundarySubscription(self, inner, source)

    async def aclose(self) -> None:
        """Nothing: what a process leaves behind is found out by the store."""

    # Further Protocols.

    async def request(self, message: Message, /) -> Receipt:
        """Send a request; before it and after it is a point."""
        name = self.world.ledger.name(message)
        return await self._cross(self._inner.request(message), f"asks {name} on {message.channel}", f"{name} is asked")

    async def reply(self, answer: Message, /) -> None:
        """Send an answer; before it and after it is a point."""
        await self._cross(self._inner.reply(answer), "answers", "the answer is sent")

    async def _cross(self, work: Coroutine[Any, Any, T], before: str, after: str) -> T:
        call = CALL.get()
        place = here(None if call is None else call.code)
        with Inside():
            try:
                await self.world.points.reach(self.process, before, "it has not reached the store", place)
            except BaseException:
                work.close()
                raise
            result = await self.there(work)
            await self.world.points.reach(self.process, after, f"{self.process.name} has not been told", place)
        return result

    async def replies(self, receive: Callable[[str, Message | None], None], /) -> str:
        """As the store's; answers arrive in the process."""
        loop, context = self.world.loop, self.process.context

        def arrive(reply_to: str, answer: Message | None) -> None:
            loop.call_soon(receive, reply_to, answer, context=context.copy())

        return await self.there(self._inner.replies(arrive))

    def letters(self, wanted: LetterFilter, /) -> AsyncIterator[Any]:
        """As the store's."""
        letters: AsyncIterator[Any] = self._inner.letters(wanted)
        return letters

    async def redrive(self, ids: Sequence[str], /) -> Sequence[Any]:
        """As the store's; the ledger knows that the message may be handled again."""
        letters = [letter async for letter in self.letters(LetterFilter(ids=ids))]
        results: Sequence[Any] = await self.there(self._inner.redrive(ids))
        for letter in letters:
            group = None if letter.group is None else GroupId(letter.source or letter.message.channel, letter.group)
            self.world.ledger.sent_again(letter.message, group)
        return results

    def __getattr__(self, name: str) -> Any:
        """The store's further methods."""
        method = getattr(self._inner, name)

        async def call(*args: Any, **options: Any) -> Any:
            return await self.there(method(*args, **options))

        return call


class BoundarySubscription:
    """A process's subscription: what arrives is a point, and what is settled is one before it and one after it."""

    def __init__(self, boundary: Boundary, inner: Subscription, source: Source) -> None:
        self._boundary = boundary
        self._inner = inner
        self._source = source
        self._who = source.group or f"a listener of {source.channel}"
        self._arriving: asyncio.Task[Sequence[Delivery]] | None = None
        self._arrived: list[Delivery] = []

    @property
    def lease(self) -> float | None:
        """As the store's."""
        return self._inner.lease

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Receive; a cancelled call loses nothing."""
        if not self._arrived:
            if self._arriving is None:
                self._arriving = self._boundary.send(self._receive(limit))
                self._boundary.process.closing.append(self._arriving.cancel)
            await asyncio.wait([self._arriving])
            arriving, self._arriving = self._arriving, None
            self._boundary.process.closing.remove(arriving.cancel)
            self._arrived = list(arriving.result())
            await self._arrive()
        received, self._arrived = self._arrived[:limit], self._arrived[limit:]
        return received

    async def _receive(self, limit: int) -> Sequence[Delivery]:
        return await self._inner.receive(limit)

    async def _arrive(self) -> None:
        world = self._boundary.world
        for each in self._arrived:
            world.ledger.delivered(each.message)
        names = ", ".join(f"{world.ledger.name(each.message)} (attempt {each.attempt})" for each in self._arrived)
        late = await world.points.reach(
            self._boundary.process, f"{self._who} gets {names}", "its handler has not begun", turns=True
        )
        if late and not self._source.ordered:
            self._arrived.reverse()

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """Settle; what the store confirms is written down."""
        world, process = self._boundary.world, self._boundary.process
        if process.over:
            return [Settlement.LOST] * len(settled)
        names = world.ledger.name
        what = ", ".join(f"{_outcome(each.outcome)} {names(each.delivery.message)}" for each in settled)
        lost = await world.points.reach(process, f"{self._who} {what}", "the store does not know", doubles=True)
        if lost:
            return [Settlement.UNKNOWN] * len(settled)
        settlements = await self._boundary.there(self._settle(settled))
        known = ", ".join(
            f"{names(each.delivery.message)} {settlement.name}"
            for each, settlement in zip(settled, settlements, strict=True)
        )
        await world.points.reach(process, f"the store has settled {known}", f"{process.name} has not been told")
        return settlements

    async def _settle(self, settled: Sequence[Settled]) -> Sequence[Settlement]:
        ledger, name = self._boundary.world.ledger, self._source.group
        group = GroupId(self._source.channel, name or "")
        acked = [
            isinstance(each.outcome, Acked) and name is not None and each.delivery.message.reply_to is None
            for each in settled
        ]
        for each in compress(settled, acked):
            ledger.acking(each.delivery.message, group)
        settlements = await self._inner.settle(settled)
        for each, settlement in compress(zip(settled, settlements, strict=False), acked):
            ledger.acked(each.delivery.message, group, done=settlement is Settlement.DONE)
        return settlements

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """As the store's."""
        return [] if self._boundary.process.over else await self._boundary.there(self._extend(deliveries))

    async def _extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        return await self._inner.extend(deliveries)

    def resize(self, window: int, /) -> None:
        """As the store's."""
        if not self._boundary.process.over:
            self._boundary.resize(self._inner, window)

    async def aclose(self) -> None:
        """As the store's, but for a process that is gone."""
        if self._arriving is not None:
            self._arriving.cancel()
        if not self._boundary.process.over:
            await self._boundary.there(self._close())

    async def _close(self) -> None:
        await self._inner.aclose()


def _receipt(name: str, receipt: Receipt) -> str:
    if receipt.error is not None:
        return f"{name} is refused: {receipt.error}"
    if receipt.routed is False:
        return f"{name} is taken, for nobody"
    return f"{name} is taken" + (
        "" if receipt.receivers is None else f", for {receipt.receivers} reader{'s' if receipt.receivers != 1 else ''}"
    )


def _outcome(outcome: Outcome) -> str:
    match outcome:
        case Acked():
            return "acknowledges"
        case Retried(after):
            return f"asks to retry in {after:.1f} s"
        case Rejected(reason):
            return f"gives up ({reason})"
        case Released():
            return "gives back"
