"""What was received from a transport that settles nothing: here the memory transport, whose settling is not used."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from pabal.model.address import Address
from pabal.model.clock import VirtualClock
from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.errors import ConnectionFailed
from pabal.model.message import Message
from pabal.model.outcome import ACKED, RELEASED, Failure, Retried, Settlement
from pabal.model.transport import Post, Settled, Source
from pabal.runtime import unsettled
from pabal.runtime.undelivered import Undelivered
from pabal.runtime.unsettled import Unsettled
from pabal.transports.memory import MemoryTransport

SOURCE = Source("a", "g")
THEN = datetime(2026, 1, 1, tzinfo=UTC)


class Stand:
    """A transport with one group, read as if it settled nothing; its dead letters are its own."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.transport = MemoryTransport(Address("memory://"), clock=self.clock)

    async def open(self) -> None:
        await self.transport.open()
        inner = await self.transport.subscribe(SOURCE)
        undelivered = Undelivered(SOURCE, box=self.transport, clock=self.clock)
        self.reader = Unsettled(inner, SOURCE, undelivered=undelivered, clock=self.clock)

    async def publish(self, *ids: str) -> None:
        await self.transport.publish([Post(Message(id=id, channel="a", body=b"", time=THEN)) for id in ids])

    async def letters(self) -> list[DeadLetter]:
        return [letter async for letter in self.transport.letters(LetterFilter())]


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    made = Stand()
    await made.open()
    yield made
    await made.reader.aclose()
    await made.transport.aclose()


def failed(after: float, error: str = "no") -> Retried:
    return Retried(after, Failure(THEN, 1, error))


async def test_a_retry_comes_again_at_its_time(stand: Stand) -> None:
    """Not before, as the next attempt, with the failures so far."""
    await stand.publish("1")
    (first,) = await stand.reader.receive(1)
    assert [Settlement.DONE] == await stand.reader.settle([Settled(first, failed(5.0))])
    again = asyncio.create_task(stand.reader.receive(10))
    stand.clock.advance(4.9)
    await asyncio.sleep(0)
    assert not again.done()
    stand.clock.advance(0.1)
    (second,) = await again
    assert ("1", 2, ["no"]) == (second.message.id, second.attempt, [failure.error for failure in second.errors])


async def test_no_more_comes_than_was_asked_for(stand: Stand) -> None:
    """What is due at once and what is new come by and by."""
    await stand.publish("1", "2", "3")
    three = await stand.reader.receive(3)
    await stand.reader.settle([Settled(each, failed(1.0)) for each in three])
    stand.clock.advance(1.0)
    sizes = [len(await stand.reader.receive(limit)) for limit in (2, 2)]
    assert [2, 1] == sizes


async def test_who_gives_up_waiting_loses_nothing(stand: Stand) -> None:
    """What came for a reader that was cancelled is received the next time."""
    waiting = asyncio.create_task(stand.reader.receive(5))
    await asyncio.sleep(0)
    await stand.publish("1", "2")
    waiting.cancel()
    await asyncio.wait([waiting])
    got: list[str] = []
    while len(got) < 2:
        got += [delivery.message.id for delivery in await stand.reader.receive(5)]
    assert ["1", "2"] == got


async def test_what_is_left_at_the_end_is_abandoned(stand: Stand) -> None:
    """Given back, waiting or never taken out: each is one dead letter, however often it is closed."""
    await stand.publish("given back", "waiting", "acked")
    back, waits, acked = await stand.reader.receive(3)
    await stand.reader.settle([Settled(back, RELEASED), Settled(waits, failed(60.0)), Settled(acked, ACKED)])
    unread = asyncio.create_task(stand.reader.receive(1))
    await asyncio.sleep(0)
    await stand.publish("never taken out")
    unread.cancel()
    await asyncio.wait([unread])
    for _ in range(2):
        await stand.reader.aclose()
    letters = await stand.letters()
    assert {"given back", "waiting", "never taken out"} == {letter.message.id for letter in letters}
    assert [("abandoned", "a", "g")] * 3 == [(letter.reason, letter.source, letter.group) for letter in letters]
    assert {"waiting": 1} == {letter.message.id: len(letter.attempts) for letter in letters if letter.attempts}
    with pytest.raises(ConnectionFailed):
        await stand.reader.receive(1)


async def test_a_failure_after_the_end_is_abandoned_too(stand: Stand) -> None:
    """A handler that ends later than its subscription has nowhere to wait."""
    await stand.publish("late")
    (late,) = await stand.reader.receive(1)
    await stand.reader.aclose()
    await stand.reader.settle([Settled(late, failed(1.0))])
    assert ["late"] == [letter.message.id for letter in await stand.letters()]


async def test_what_cannot_even_be_parked_is_named(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """A loss that nothing prevents any more is no silent one."""

    class Broken:
        async def park(self, letters: Sequence[DeadLetter], /) -> None:
            raise ConnectionFailed("the disk is full")

    undelivered = Undelivered(SOURCE, box=Broken(), clock=stand.clock)
    inner = await stand.transport.subscribe(Source("b", "g"))
    reader = Unsettled(inner, SOURCE, undelivered=undelivered, clock=stand.clock)
    await stand.publish("lost")
    (lost,) = await stand.reader.receive(1)
    await reader.settle([Settled(lost, RELEASED)])
    await reader.aclose()
    (record,) = caplog.records
    assert logging.ERROR == record.levelno
    assert "the disk is full" in record.message
    assert record.message.endswith(": lost")


async def test_a_subscription_that_is_gone_is_said(stand: Stand) -> None:
    """Who waits for its next message gets the reason why none comes any more, after what is still there."""
    await stand.publish("1")
    (first,) = await stand.reader.receive(1)
    await stand.reader.settle([Settled(first, failed(1.0))])
    waiting = asyncio.create_task(stand.reader.receive(1))
    await asyncio.sleep(0)
    await stand.transport.aclose()
    with pytest.raises(ConnectionFailed):
        await waiting


async def test_memory_is_bounded(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """When many have failed, no new ones are received before some of those are tried again."""
    monkeypatch.setattr(unsettled, "_MOST_WAITING", 2)
    await stand.publish("1", "2", "3")
    two = await stand.reader.receive(2)
    await stand.reader.settle([Settled(each, failed(1.0)) for each in two])
    waiting = asyncio.create_task(stand.reader.receive(5))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    stand.clock.advance(1.0)
    assert ["1", "2"] == [delivery.message.id for delivery in await waiting]
    assert ["3"] == [delivery.message.id for delivery in await stand.reader.receive(5)]
