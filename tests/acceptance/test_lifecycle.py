"""Opening, running and closing a bus."""

import asyncio
import threading
from typing import Any

import pytest

from pabal import Bus, CapabilityError, ConfigurationError, ConnectionFailed, Context
from tests.acceptance.seen import Seen, letters, until
from tests.acceptance.trouble import Trouble


def handle(bus: Bus, seen: Seen) -> None:
    @bus.handler("a", group="g")
    async def handler(body: Any) -> None:
        seen.add(body)


async def test_first_use_opens(url: str) -> None:
    """A bus need not be opened: its first use connects. Many first uses at once connect once."""
    bus = Bus(url)
    receipts = await asyncio.gather(*(bus.publish("a", n) for n in range(10)))
    assert len(receipts) == 10
    assert len(await letters(bus, 10)) == 10
    await bus.aclose()


async def test_closed_stays_closed(url: str) -> None:
    """Once closed a bus stays closed, whatever is asked of it; closing twice is closing once."""
    bus = Bus(url)
    async with bus:
        await bus.publish("a", 1)
    await bus.aclose()
    for use in (bus.publish("a", 1), bus.publish_many("a", [1]), bus.request("a", 1), bus.run(), bus.__aenter__()):
        with pytest.raises(ConfigurationError, match="this bus is closed; make a new one"):
            await use
    with pytest.raises(ConfigurationError, match="closed"):
        async with bus.running():
            pass
    with pytest.raises(ConfigurationError, match="closed"):
        async with bus.consumer("a", group="g"):
            pass
    with pytest.raises(ConfigurationError, match="closed"):
        await bus.dead_letters.show("x")


async def test_closed_before_it_was_opened(url: str) -> None:
    """A bus that was closed unused stays closed, too."""
    bus = Bus(url)
    await bus.aclose()
    with pytest.raises(ConfigurationError, match="closed"):
        await bus.publish("a", 1)


async def test_closing_while_it_opens(trouble: Trouble) -> None:
    """A bus that is closed while it is opened is closed in the end: nothing stays open behind it."""
    go_on = asyncio.Event()

    async def slowly(_: Any) -> None:
        await go_on.wait()

    trouble.before["open"] = slowly
    bus = Bus(trouble.url)
    opening = asyncio.create_task(bus.publish("a", 1))
    await until(lambda: trouble.calls["open"])
    closing = asyncio.create_task(bus.aclose())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert bus._connection is None
    await asyncio.gather(opening, return_exceptions=True)  # either is right: it came before the end, or after
    with pytest.raises(ConfigurationError, match="closed"):
        await bus.publish("a", 1)


async def test_opening_that_fails_is_tried_again(trouble: Trouble) -> None:
    """A bus that could not connect tries again at its next use."""
    bus = Bus(trouble.url)
    trouble.fail("open")
    with pytest.raises(ConnectionFailed):
        await bus.publish("a", 1)
    trouble.heal()
    await bus.publish("a", 1)
    await bus.aclose()


async def test_running_closes_what_it_opened(url: str) -> None:
    """running() closes the bus at its end if it opened it; inside `async with bus` that is left to the bus."""
    seen = Seen()
    bus = Bus(url)
    handle(bus, seen)
    async with bus.running():
        await bus.publish("a", 1)
        await seen.wait(1)
    with pytest.raises(ConfigurationError, match="closed"):
        await bus.publish("a", 2)
    bus = Bus(url)
    handle(bus, seen)
    async with bus:
        for number in (2, 3):
            async with bus.running():
                await bus.publish("a", number)
                await seen.wait(number)
        await bus.publish("a", 4)
    assert seen == [1, 2, 3]


async def test_running_twice_at_once(url: str) -> None:
    """A bus runs once at a time."""
    bus = Bus(url)
    async with bus.running():
        with pytest.raises(ConfigurationError, match="running already"):
            async with bus.running():
                pass
        with pytest.raises(ConfigurationError, match="running already"):
            await bus.run()


async def test_two_first_runs_at_once(trouble: Trouble) -> None:
    """Of two that run one bus at the same moment, while it is still being opened, one is refused."""
    bus = Bus(trouble.url)
    ended = asyncio.Event()

    async def slowly(_: Any) -> None:
        await asyncio.sleep(0)

    async def run() -> str:
        try:
            async with bus.running():
                await ended.wait()
        except ConfigurationError as error:
            ended.set()
            return str(error)
        return "ran"

    trouble.before["open"] = slowly
    assert sorted(await asyncio.gather(run(), run())) == ["ran", "this bus is running already"]


async def test_handlers_are_registered_before(url: str) -> None:
    """A handler that is added while the bus runs is refused; between two runs it is not."""
    bus, seen = Bus(url), Seen()
    async with bus:
        async with bus.running():
            with pytest.raises(ConfigurationError, match="register handlers before the bus runs"):
                handle(bus, seen)
            with pytest.raises(ConfigurationError, match="register handlers before the bus runs"):
                bus.listen("a")(seen.add)
        handle(bus, seen)
        async with bus.running():
            await bus.publish("a", 1)
            await seen.wait(1)


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


async def test_url_from_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a URL a bus reads PABAL_URL; without that it says so."""
    monkeypatch.setenv("PABAL_URL", url)
    async with Bus() as bus:
        assert repr(bus) == f"Bus({url!r})"
        await bus.publish("a", 1)
    monkeypatch.delenv("PABAL_URL")
    with pytest.raises(ConfigurationError, match="set PABAL_URL"):
        Bus()


def test_passwords_are_hidden() -> None:
    """Neither a bus nor its errors show a URL's password."""
    bus = Bus("postgresql://me:secret@db.example/app", dead_letters="sqlite:///dead.db")
    assert repr(bus) == "Bus('postgresql://me:***@db.example/app')"
    with pytest.raises(ConfigurationError) as refused:
        Bus("postgresql://me:secret@db.example:port/app")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": ""},
        {"url": "todo.db"},
        {"dead_letters": "dead.db"},
        {"name": ""},
        {"name": "a\nb"},
        {"grace": -1},
        {"grace": float("nan")},
        {"unrouted": "lose"},
    ],
    ids=str,
)
def test_wrong_bus(wrong: dict[str, Any]) -> None:
    """An option that makes no sense is refused when the bus is made."""
    with pytest.raises(ConfigurationError):
        Bus(**{"url": "memory://", **wrong})


@pytest.mark.parametrize("wrong", ["nowhere://x", "memory://?no_such_option=1", "memory://?lease=soon"])
async def test_wrong_url(wrong: str) -> None:
    """A scheme or option that is unknown is refused at the first use, with the known ones."""
    with pytest.raises(ConfigurationError):
        async with Bus(wrong):
            pass


async def test_unrouted_raise_needs_a_transport_that_knows(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """unrouted="raise" is refused where the transport cannot know."""
    from pabal.model.capabilities import Capabilities
    from tests.acceptance.trouble import TroubleTransport

    async def knows_nothing(self: TroubleTransport) -> Capabilities:
        return Capabilities()

    monkeypatch.setattr(TroubleTransport, "open", knows_nothing)
    with pytest.raises(CapabilityError, match='unrouted="raise" is refused'):
        async with Bus(trouble.url, unrouted="raise"):
            pass
    bus = Bus(trouble.url)
    handle(bus, Seen())
    with pytest.raises(CapabilityError, match="at least once is refused"):
        async with bus.running():
            pass
