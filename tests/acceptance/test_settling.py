"""Settling and parking in trouble: nothing is lost, and nothing holds up the rest."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from pabal import Backoff, Bus, ConnectionFailed, Reject
from pabal.model.clock import VirtualClock
from pabal.model.transport import Settled
from tests.acceptance.seen import Seen, drained, letters, until
from tests.acceptance.trouble import Trouble


async def test_settling_that_fails(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose settling fails goes on; what got no answer is counted as unknown and comes again."""
    clock = VirtualClock()
    bus, seen = Bus(trouble.url + "?lease=30", clock=clock), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)

    async with bus.running() as crew:
        (counters,) = crew.counters.values()
        trouble.fail("settle")
        await bus.publish("a", "one")
        await until(lambda: counters.unknown == 1)
        trouble.heal()
        await bus.publish("a", "two")
        await until(lambda: counters.acked == 1)
        clock.advance(30.0)
        await until(lambda: counters.acked == 2)
    assert seen == ["one", "two", "one"]
    assert "could not settle 1 deliveries" in caplog.text


async def test_what_waits_for_its_settlement_is_bounded(trouble: Trouble) -> None:
    """A server that settles slowly slows the receiving: memory stays bounded, and nothing is lost."""
    bus, seen = Bus(trouble.url), Seen()
    go_on = asyncio.Event()

    async def slowly(_: Sequence[Settled]) -> None:
        await go_on.wait()

    @bus.handler("a", group="g")
    async def handler(number: int) -> None:
        seen.add(number)

    async with bus.running() as crew:
        trouble.before["settle"] = slowly
        await bus.publish_many("a", range(3000))
        await seen.wait(1000)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(seen) <= 1200
        go_on.set()
        assert await seen.wait(3000) == list(range(3000))
        (counters,) = crew.counters.values()
        await until(lambda: counters.acked == 3000)


async def test_parking_that_fails_at_a_drain(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    """While the box of dead letters is away nothing is acknowledged: the drain names it and gives it back."""
    url = "memory://parking-that-fails"
    bus, seen = Bus(url, dead_letters=trouble.url, grace=0.05), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)
        raise Reject("no")

    trouble.fail("park")
    async with bus.running() as crew:
        receipt = await bus.publish("a", "x")
        await until(lambda: trouble.calls["park"])
    assert [left.message_id for left in crew.report.unfinished] == [receipt.id]
    assert sum(counters.acked + counters.rejected for counters in crew.report.handlers.values()) == 0
    assert "could not park 1 dead letters" in caplog.text
    trouble.heal()
    assert await drained(url) == [("x", 1)]
    async with Bus(trouble.url) as box:
        assert [letter async for letter in box.dead_letters.list()] == []


async def test_parking_that_recovers(trouble: Trouble) -> None:
    """Once the box is there again, what waited for it is parked and acknowledged."""
    clock = VirtualClock()
    bus = Bus("memory://parking-that-recovers", dead_letters=trouble.url, clock=clock)

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        raise Reject("no")

    async with bus.running() as crew:
        trouble.fail("park")
        await bus.publish_many("a", ["x", "y", "z"])
        await until(lambda: trouble.calls["park"])
        trouble.heal()
        (counters,) = crew.counters.values()
        while counters.rejected < 3:
            clock.advance(5.0)
            await asyncio.sleep(0)
        found = await letters(bus, 3)
    assert sorted(letter.message.body for letter in found) == [b"x", b"y", b"z"]
    assert (counters.acked, counters.rejected, counters.failed) == (0, 3, 3)


async def test_letter_that_the_box_refuses_holds_up_no_other(trouble: Trouble) -> None:
    """One dead letter that the box does not take is tried again, behind the others."""
    clock = VirtualClock()
    bus, refused = Bus("memory://refused-letter", dead_letters=trouble.url, clock=clock, grace=0.05), Seen()

    async def refuse(parked: Sequence[Any]) -> None:
        if any(letter.message.body == b"bad" for letter in parked):
            refused.add(len(parked))
            raise ConnectionFailed("not this one")

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        raise Reject("no")

    trouble.before["park"] = refuse
    async with bus.running() as crew:
        await bus.publish_many("a", ["bad", "one", "two"])
        (counters,) = crew.counters.values()
        while counters.rejected < 2:
            clock.advance(5.0)
            await asyncio.sleep(0)
        found = await letters(bus, 2)
    assert sorted(letter.message.body for letter in found) == [b"one", b"two"]
    assert len(crew.report.unfinished) == 1


async def test_crash_between_parking_and_acknowledging(trouble: Trouble) -> None:
    """Parking comes before acknowledging: an end in between makes a duplicate, never a loss."""
    url = "memory://crash-between"
    parked = asyncio.Event()

    async def hang(_: Sequence[Settled]) -> None:
        parked.set()
        await asyncio.Event().wait()

    bus = Bus(trouble.url, dead_letters=url, grace=0.0)

    @bus.handler("a", group="g", retry=Backoff(attempts=1))
    async def handler(body: str) -> None:
        raise ValueError("no")

    trouble.before["settle"] = hang
    async with bus.running() as crew:
        await bus.publish("a", "x")
        async with asyncio.timeout(10):
            await parked.wait()
        (letter,) = await letters(bus)
        assert letter.reason == "exhausted"
        crew.stop()
        crew.stop()
        await crew.drain()
    trouble.heal()
    assert await drained(trouble.url) == [("x", 1)]
