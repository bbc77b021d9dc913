"""Opening, running and closing a bus."""

import asyncio
from typing import Any

import pytest

from pabal import Bus, CapabilityError, ConfigurationError, ConnectionFailed
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
