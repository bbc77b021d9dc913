"""Running in the foreground and the background, and workers that stop by themselves."""

import asyncio
import threading
from typing import Any

import pytest

from pabal import Bus, ConnectionFailed, Context
from tests.acceptance.seen import Seen, until
from tests.acceptance.trouble import Trouble


def handle(bus: Bus, seen: Seen) -> None:
    @bus.handler("a", group="g")
    async def handler(body: Any) -> None:
        seen.add(body)


async def test_exception_drains_and_comes_out(url: str) -> None:
    """An exception in the block drains the bus, and comes out as it is."""
    bus, seen = Bus(url), Seen()
    begun = asyncio.Event()

    @bus.handler("a", group="g")
    async def handler(body: Any) -> None:
        begun.set()
        await asyncio.sleep(0.01)
        seen.add(body)

    with pytest.raises(KeyError, match="mine"):
        await fail_while_running(bus, begun)
    assert seen == [1]


async def fail_while_running(bus: Bus, begun: asyncio.Event) -> None:
    async with bus.running():
        await bus.publish("a", 1)
        await begun.wait()
        raise KeyError("mine")


async def test_closing_while_it_runs(url: str) -> None:
    """A running bus that is closed drains first: what is begun ends and can publish, and run() returns its report."""
    bus, seen = Bus(url), Seen()
    begun, go_on = asyncio.Event(), asyncio.Event()

    @bus.handler("a", group="g")
    async def handler(body: Any, context: Context) -> None:
        begun.set()
        await go_on.wait()
        await context.publish("b", body)
        seen.add(body)

    async with bus:
        running = asyncio.create_task(bus.run())
        await until(lambda: bus._crew)
        await bus.publish("a", 1)
        await begun.wait()
        closing = asyncio.create_task(bus.aclose())
        await asyncio.sleep(0)
        go_on.set()
        await closing
        report = await running
    assert seen == [1]
    assert sum(counters.acked for counters in report.handlers.values()) == 1


async def test_run_until_stopped(url: str) -> None:
    """run() handles messages until it is asked to stop, and returns the report."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(body: Any) -> None:
        seen.add(body)

    async with Bus(url) as other:
        running = asyncio.create_task(bus.run())
        await until(lambda: bus._crew)
        await other.publish("a", 1)
        await seen.wait(1)
        assert bus._crew is not None
        bus._crew.stop()
        report = await running
    assert str(report).splitlines()[0].endswith("1 handled, 0 given back, 0 unfinished")


async def test_cancelled_run_drains(url: str) -> None:
    """A run() that is cancelled drains before it ends."""
    bus, seen = Bus(url), Seen()
    begun = asyncio.Event()

    @bus.handler("a", group="g")
    async def handler(body: Any) -> None:
        begun.set()
        await asyncio.sleep(0.01)
        seen.add(body)

    async with Bus(url) as other:
        running = asyncio.create_task(bus.run())
        await until(lambda: bus._crew)
        await other.publish("a", 1)
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert seen == [1]


def test_run_in_another_thread() -> None:
    """run() works outside the main thread, where no signals are heard."""
    reports: list[Any] = []
    bus = Bus("memory://")

    async def main() -> None:
        running = asyncio.create_task(bus.run())
        await until(lambda: bus._crew)
        await bus.aclose()
        reports.append(await running)

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    thread.join(20)
    assert len(reports) == 1


@pytest.mark.parametrize("verb", ["receive", "settle"])
async def test_worker_that_stops_by_itself(trouble: Trouble, caplog: pytest.LogCaptureFixture, verb: str) -> None:
    """When one worker's transport fails for good, run() drains the others and raises what it was."""
    bus, seen = Bus(trouble.url), Seen()

    @bus.handler("a", group="g")
    async def handler(body: Any) -> None:
        seen.add(body)

    trouble.fail(verb, RuntimeError("the driver is broken"))
    async with Bus(trouble.url) as other:
        running = asyncio.create_task(bus.run())
        await until(lambda: bus._crew)
        await other.publish("a", 1)
        async with asyncio.timeout(20):
            with pytest.raises(RuntimeError, match="the driver is broken"):
                await running
    assert "stopped: the driver is broken" in caplog.text


async def test_dead_worker_in_the_background(trouble: Trouble) -> None:
    """In the background, too, it is not passed over: running() raises it at its end."""
    bus, seen = Bus(trouble.url), Seen()
    handle(bus, seen)
    trouble.fail("receive")
    with pytest.raises(ConnectionFailed, match="the server is away"):  # noqa: PT012 - the block is what fails at its end
        async with bus.running():
            await until(lambda: trouble.calls["receive"])
            await asyncio.sleep(0)


async def test_subscribing_that_fails(trouble: Trouble) -> None:
    """When one handler cannot subscribe nothing runs, and what had subscribed is closed."""
    bus, seen = Bus(trouble.url), Seen()
    handle(bus, seen)

    @bus.handler("b", group="g")
    async def other(body: Any) -> None: ...

    async def refuse(source: Any) -> None:
        if source.channel == "b":
            raise ConnectionFailed("not that one")

    trouble.before["subscribe"] = refuse
    with pytest.raises(ConnectionFailed, match="not that one"):
        async with bus.running():
            raise AssertionError
    assert trouble.calls["subscribe"] == 2
    assert trouble.calls["close"] == 1
