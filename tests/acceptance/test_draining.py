"""The end of a running bus: what is given back, what is waited for, what is named, and settling in trouble."""

import asyncio
import contextlib
import threading

import pytest

from pabal import Bus, ConnectionFailed, Context
from tests.acceptance.seen import Seen, drained


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
