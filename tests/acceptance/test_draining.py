"""The end of a running bus: what is given back, what is waited for, what is named, and settling in trouble."""

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from pabal import Backoff, Bus, ConnectionFailed, Context, Reject
from pabal.model.clock import VirtualClock
from pabal.model.transport import Settled
from tests.acceptance.seen import Seen, letters, until
from tests.acceptance.trouble import Trouble


async def drained(url: str) -> list[Any]:
    """What another bus gets of group g, until it is quiet; with the attempt."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(body: Any, context: Context) -> None:
        seen.add((body, context.attempt))

    async with bus.running():
        await bus.publish("a", "last", id="last")
        while "last" not in [body for body, _ in seen]:
            await seen.wait(len(seen) + 1)
    return [one for one in seen if one[0] != "last"]


async def test_in_flight_ends_and_the_rest_is_given_back(url: str) -> None:
    """A drain takes no more, lets what runs end, and gives back what has not started, with no attempt counted."""
    bus, seen = Bus(url), Seen()
    go_on = asyncio.Event()

    @bus.handler("a", group="g")
    async def handler(number: int) -> None:
        seen.add(number)
        await go_on.wait()

    async with bus.running() as crew:
        await bus.publish_many("a", range(10))
        await seen.wait(1)
        draining = asyncio.create_task(crew.drain())
        other, elsewhere = Bus(url), Seen()

        @other.handler("a", group="g")
        async def others(number: int, context: Context) -> None:
            elsewhere.add((number, context.attempt))

        async with other.running():
            assert sorted(await elsewhere.wait(9)) == [(number, 1) for number in range(1, 10)]
            assert not draining.done()
            go_on.set()
            await draining
        assert seen == [0]
        assert len(elsewhere) == 9
    (counters,) = crew.report.handlers.values()
    assert counters.acked == 1
    assert crew.report.unfinished == ()


@pytest.mark.parametrize("plain", [False, True])
async def test_what_does_not_end_is_named_and_given_back(url: str, *, plain: bool) -> None:
    """What does not end within the grace is named in the report, cancelled and given back."""
    bus, seen = Bus(url, grace=0.01), Seen()
    ended = threading.Event()

    @bus.handler("b", group="quick")
    async def quick(body: str) -> None:
        seen.add(body)

    if plain:

        @bus.handler("a", group="g")
        def stuck(body: str) -> None:
            seen.add(body)
            ended.wait(10)

    else:

        @bus.handler("a", group="g")
        async def stuck_async(body: str) -> None:
            seen.add(body)
            await asyncio.Event().wait()

    async with bus.running() as crew:
        receipt = await bus.publish("a", "x")
        await seen.wait(1)
    (left,) = crew.report.unfinished
    assert (left.channel, left.message_id) == ("a", receipt.id)
    assert "(a @ g)" in left.handler
    assert f"unfinished after {left.seconds:.1f} s in {left.handler}: {receipt.id} on a" in str(crew.report)
    assert await drained(url) == [("x", 1)]
    ended.set()


async def test_thread_that_outlives_its_bus(url: str) -> None:
    """A plain handler that goes on after its bus has ended cannot publish, and does not hang."""
    bus, seen = Bus(url, grace=0.0), Seen()
    go_on = threading.Event()

    @bus.handler("a", group="g")
    def handler(body: str, context: Context) -> None:
        seen.add(body)
        go_on.wait(10)
        try:
            seen.add(context.publish("b", 1))
        except ConnectionFailed as error:
            seen.add(str(error))

    async with bus.running():
        await bus.publish("a", "x")
        await seen.wait(1)
    go_on.set()
    _, said = await seen.wait(2)
    assert said.startswith("the bus was drained while this handler ran")


async def test_stop_twice_ends_at_once(url: str) -> None:
    """Asked twice, the bus ends at once, whatever its grace; what ran is named and given back."""
    bus, seen = Bus(url, grace=3600.0), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)
        await asyncio.Event().wait()

    async with bus.running() as crew:
        receipt = await bus.publish("a", "x")
        await seen.wait(1)
        crew.stop()
        await crew.wait()
        draining = asyncio.create_task(crew.drain())
        await asyncio.sleep(0)
        crew.stop()
        async with asyncio.timeout(10):
            await draining
    assert [left.message_id for left in crew.report.unfinished] == [receipt.id]
    assert await drained(url) == [("x", 1)]


async def test_cancelled_drain_ends_at_once(url: str) -> None:
    """Whoever cancels a drain wants no grace: it ends at once and in order."""
    bus, seen = Bus(url, grace=3600.0), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)
        await asyncio.Event().wait()

    async def main() -> None:
        async with bus.running():
            await bus.publish("a", "x")
            await asyncio.Event().wait()

    running = asyncio.create_task(main())
    await seen.wait(1)
    running.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await running
    assert await drained(url) == [("x", 1)]


async def test_handler_that_swallows_its_cancellation(url: str) -> None:
    """A handler that swallows one cancellation ends its message, not the drain: what it has done is done."""
    bus, seen = Bus(url, grace=0.0), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        seen.add("swallowed")

    async with asyncio.timeout(10):
        async with bus.running():
            await bus.publish("a", "x")
            await seen.wait(1)
    assert seen == ["x", "swallowed"]
    assert await drained(url) == []


async def test_idle_bus_drains_at_once(url: str) -> None:
    """A bus with nothing to do ends without waiting, one without handlers too."""
    bus = Bus(url, grace=3600.0)

    @bus.handler("a", group="g")
    async def handler(body: str) -> None: ...

    async with asyncio.timeout(10):
        async with bus.running() as crew:
            pass
        async with Bus(url).running():
            pass
    assert str(crew.report).endswith("0 handled, 0 given back, 0 unfinished")


async def test_draining_twice_is_draining_once(url: str) -> None:
    """Any number of callers wait for the same drain."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)
        await asyncio.sleep(0)

    async with bus.running() as crew:
        await bus.publish("a", "x")
        await seen.wait(1)
        await asyncio.gather(crew.drain(), crew.drain())
        await crew.drain()
        await crew.wait()
    assert sum(counters.acked for counters in crew.report.handlers.values()) == 1


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
