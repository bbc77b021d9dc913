"""The stage on which a promise is played: connections, readers and messages, all cleared away afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

from pabal.model.capabilities import Capabilities
from pabal.model.clock import utc
from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.errors import PabalError
from pabal.model.message import Message, new_id
from pabal.model.outcome import ACKED, Failure, Outcome, Settlement
from pabal.model.transport import (
    Administers,
    Delivery,
    Examines,
    OnDead,
    Parks,
    Post,
    Receipt,
    Requests,
    Settled,
    Source,
    Subscription,
    Transport,
)
from pabal.testing.broken import PromiseBroken, expect, expect_that
from pabal.testing.subject import Subject

Result = TypeVar("Result")


class Stage:
    """What a promise works with. It opens on entering and closes all that it opened on leaving."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.capabilities = Capabilities()
        self._token = new_id().replace("-", "")[-16:]
        self._opened: list[Transport] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in reversed(self._opened):
            await self.close(transport)

    async def connect(
        self, *, lease: float | None = None, max_body: int | None = None, overflow: int | None = None
    ) -> Transport:
        """A new connection, opened; `capabilities` are then what it declared."""
        transport = await self.subject.connect(lease=lease, max_body=max_body, overflow=overflow)
        self._opened.append(transport)
        async with self.within("open() to return"):
            self.capabilities = await transport.open()
        return transport

    async def close(self, transport: Transport) -> None:
        """Close a transport, which has to end and to raise nothing, however often it is done."""
        async with self.within("closing a transport to end"):
            error = await raised(transport.aclose)
        expect(error, None, "the error of closing a transport")

    async def restart(self) -> None:
        """Everything down and up again."""
        await self.subject.restart()
        self._opened.clear()

    async def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass by the subject's clock."""
        await self.subject.pass_time(seconds)

    async def live(self, transport: Transport, seconds: float, *, step: float) -> None:
        """Let `seconds` pass in steps, giving `transport` the time to do at each step what it does by itself."""
        aside = self.channel("aside")
        for _ in range(round(seconds / step)):
            await self.pass_time(step)
            async with self.within("a publish to return"):
                await transport.publish([Post(self.message(aside), park=False)])

    @asynccontextmanager
    async def within(self, what: str) -> AsyncIterator[None]:
        """Break the promise when the block takes longer than the subject's patience; `what` was waited for."""
        deadline = asyncio.timeout(self.subject.patience)
        try:
            async with deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise
            raise PromiseBroken(f"Expected {what}; waited {self.subject.patience:g} s in vain.") from None

    def channel(self, name: str) -> str:
        """A channel of this name that no other stage uses."""
        return f"kit.{self._token}.{name}"

    def now(self) -> datetime:
        """The time by the subject's clock."""
        return utc(self.subject.clock.time())

    def message(self, channel: str, body: bytes = b"", **fields: Any) -> Message:
        """A message as a bus would make it."""
        default: dict[str, Any] = {"id": new_id(), "time": self.now(), "type": channel, "source": "kit"}
        return Message(channel=channel, body=body, **default | fields)

    def messages(self, channel: str, count: int, **fields: Any) -> list[Message]:
        """As many messages, numbered in their bodies."""
        return [self.message(channel, str(number).encode(), **fields) for number in range(count)]

    def failure(self, attempt: int, text: str) -> Failure:
        """The record of a failed attempt."""
        return Failure(self.now(), attempt, f"ValueError: {text}", f"Traceback of {text}\n", "ValueError at a.py:1 f")

    async def publish(self, transport: Transport, messages: Sequence[Message], **post: Any) -> list[Receipt]:
        """Publish messages that have to be taken; `post` are fields of Post."""
        return await self.post(transport, [Post(message, **post) for message in messages])

    async def post(self, transport: Transport, posts: Sequence[Post]) -> list[Receipt]:
        """Publish posts that have to be taken; checks that there is one receipt each, in their order, without error."""
        async with self.within("publish() to return"):
            receipts = list(await transport.publish(posts))
        expect([receipt.id for receipt in receipts], [post.message.id for post in posts], "the receipts' ids")
        errors = [receipt.error for receipt in receipts if receipt.error is not None]
        expect_that(not errors, "every message to be taken", errors)
        return receipts

    async def subscribe(
        self,
        transport: Transport,
        channel: str,
        group: str | None = None,
        *,
        ordered: bool = False,
        window: int = 100,
        start: Literal["oldest", "new"] | None = None,
        on_dead: OnDead = "park",
    ) -> Reader:
        """A registered reader."""
        source = Source(channel, group, ordered, window, start, on_dead=on_dead)
        async with self.within("subscribe() to return"):
            subscription = await transport.subscribe(source)
        return Reader(self, subscription, channel)

    async def letters(self, transport: Transport, channel: str | None = None, **wanted: Any) -> list[DeadLetter]:
        """The dead letters of a channel."""
        async with self.within("the dead letters to be listed"):
            return [letter async for letter in parks(transport).letters(LetterFilter(channel=channel, **wanted))]

    async def expect_nothing_else(self, transport: Transport, *readers: Reader, channel: str | None = None) -> None:
        """Break the promise when one of `readers`, listeners or members of different groups, has anything more.

        Each is read up to a message published now, which has to arrive: what a broken transport would deliver
        without cause was due before that one. `channel` is where it is published, when the readers read a pattern.
        """
        end = self.message(channel or readers[0].channel, b"the end")
        await self.publish(transport, [end])
        for reader in readers:
            others = await reader.until(end)
            expect([(each.message.id, each.message.body) for each in others], [], "what else is delivered")

    async def expect_nothing_else_of_members(self, transport: Transport, readers: Sequence[Reader]) -> None:
        """Break the promise when the members of a group have anything more: all but the first close, giving it back."""
        for reader in readers[1:]:
            await reader.close()
        await self.expect_nothing_else(transport, readers[0])


class Reader:
    """A subscription whose waits are bounded."""

    def __init__(self, stage: Stage, subscription: Subscription, channel: str) -> None:
        self.subscription = subscription
        self.channel = channel
        self._stage = stage

    async def some(self, limit: int) -> list[Delivery]:
        """1 to `limit` deliveries."""
        async with self._stage.within(f"a delivery on {self.channel}"):
            got = list(await self.subscription.receive(limit))
        expect_that(1 <= len(got) <= limit, f"receive({limit}) to return 1 to {limit} deliveries", len(got))
        return got

    async def take(self, count: int) -> list[Delivery]:
        """Exactly `count` deliveries, left unsettled."""
        got: list[Delivery] = []
        while len(got) < count:
            try:
                got += await self.some(count - len(got))
            except PromiseBroken as broken:
                raise PromiseBroken(f"Expected {count} deliveries, got {len(got)}. {broken}") from None
        return got

    async def one(self) -> Delivery:
        """The next delivery, left unsettled."""
        return (await self.take(1))[0]

    async def until(self, end: Message) -> list[Delivery]:
        """What comes before `end`, left unsettled; `end` is acked."""
        before: list[Delivery] = []
        while True:
            for delivery in await self.some(100):
                if delivery.message.id == end.id:
                    await self.done([delivery], ACKED)
                    return before
                before.append(delivery)

    async def handle(self, count: int) -> list[Delivery]:
        """Exactly `count` deliveries, acked as they come: what comes late keeps none of them beyond its lease."""
        handled: list[Delivery] = []
        while len(handled) < count:
            try:
                got = await self.some(min(100, count - len(handled)))
            except PromiseBroken as broken:
                raise PromiseBroken(f"Expected {count} deliveries, got {len(handled)}. {broken}") from None
            await self.done(got, ACKED)
            handled += got
        return handled

    async def settle(self, deliveries: Sequence[Delivery], outcome: Outcome) -> list[Settlement]:
        """End deliveries with one outcome."""
        return await self.settle_each([Settled(delivery, outcome) for delivery in deliveries])

    async def settle_each(self, settled: Sequence[Settled]) -> list[Settlement]:
        """End deliveries; checks that there is one settlement each."""
        async with self._stage.within("settle() to return"):
            settlements = list(await self.subscription.settle(settled))
        expect(len(settlements), len(settled), "the number of settlements")
        return settlements

    async def done(self, deliveries: Sequence[Delivery], outcome: Outcome) -> None:
        """End deliveries that are ours: each has to be DONE."""
        expect(await self.settle(deliveries, outcome), [Settlement.DONE] * len(deliveries), "the settlements")

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Renew leases; returns what is no longer ours."""
        async with self._stage.within("extend() to return"):
            return list(await self.subscription.extend(deliveries))

    async def close(self) -> None:
        """Close the subscription."""
        async with self._stage.within("closing a subscription to end"):
            await self.subscription.aclose()


def ids(of: Iterable[Message | Delivery]) -> list[str]:
    """The messages' ids."""
    return [each.message.id if isinstance(each, Delivery) else each.id for each in of]


def parks(transport: Transport) -> Parks:
    """A transport that declares `parks`, as that Protocol."""
    return cast(Parks, transport)


def requests(transport: Transport) -> Requests:
    """A transport that declares `requests`, as that Protocol."""
    return cast(Requests, transport)


def administers(transport: Transport) -> Administers:
    """A transport that declares `administers`, as that Protocol."""
    return cast(Administers, transport)


def examines(transport: Transport) -> Examines:
    """A transport that declares `examines`, as that Protocol."""
    return cast(Examines, transport)


async def raised(action: Callable[..., Awaitable[object]], *args: object) -> PabalError | None:
    """The error of pabal's that ``action(*args)`` raises; None when it raises none."""
    try:
        await action(*args)
    except PabalError as error:
        return error
    return None
