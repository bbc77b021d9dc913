"""Asking everybody at once."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from pabal import Bus, CapabilityError, CodecError, ConfigurationError, Message, RequestFailed, RequestTimeout
from tests.acceptance.seen import Seen, until
from tests.acceptance.trouble import Trouble


class Health(msgspec.Struct):
    name: str


async def test_all_groups_and_listeners_answer(url: str) -> None:
    """Each group answers once and each listener for itself; with all answers there, nothing more is waited for."""
    bus, other = Bus(url), Bus(url)
    for group in ("g", "h"):

        @bus.handler("health", group=group)
        async def handler(body: None, message: Message, group: str = group) -> Health:
            return Health(group)

    for name in ("here", "there"):

        @(bus if name == "here" else other).listen("health")
        async def listen(body: None, name: str = name) -> Health:
            return Health(name)

    async with bus.running(), other.running():
        answers = await asyncio.wait_for(bus.gather("health", None, reply=Health, wait=3600.0), timeout=20.0)
        assert sorted(answer.name for answer in answers if isinstance(answer, Health)) == ["g", "h", "here", "there"]


async def test_it_waits_no_longer_than_it_was_told(url: str) -> None:
    """Who does not answer in time is left out, and what comes later goes nowhere."""
    bus, gate, ended = Bus(url), asyncio.Event(), Seen()

    @bus.handler("a", group="quick")
    async def quick(body: int) -> int:
        return 2 * body

    @bus.handler("a", group="slow")
    async def slow(body: int) -> int:
        await gate.wait()
        ended.add(body)
        return 3 * body

    async with bus.running() as crew:
        assert await bus.gather("a", 1, reply=int, wait=0.2) == [2]
        gate.set()
        await ended.wait(1)
        await until(lambda: sum(counters.acked for counters in crew.counters.values()) == 2)
        assert not (await bus._open()).requester._way_back._waiting  # type: ignore[union-attr]


async def test_at_most(url: str) -> None:
    """It returns as soon as so many have answered."""
    bus, gate = Bus(url), asyncio.Event()

    @bus.handler("a", group="quick")
    async def quick(body: None) -> str:
        return "quick"

    @bus.handler("a", group="slow")
    async def slow(body: None) -> str:
        await gate.wait()
        return "slow"

    async with bus.running():
        assert await bus.gather("a", None, wait=3600.0, at_most=1) == ["quick"]
        gate.set()
        with pytest.raises(ConfigurationError, match="at least 1"):
            await bus.gather("a", None, at_most=0)


async def test_failures_are_values(url: str) -> None:
    """Who failed, or answered with something else, is in the list too, so that no answer is lost for another."""
    bus = Bus(url)

    @bus.handler("a", group="failing")
    async def failing(body: None) -> int:
        raise ValueError("no")

    @bus.handler("a", group="other")
    async def other(body: None) -> str:
        return "text"

    @bus.handler("a", group="good")
    async def good(body: None) -> int:
        return 1

    async with bus.running():
        answers = await bus.gather("a", None, reply=int, wait=3600.0)
        failed = [answer for answer in answers if isinstance(answer, RequestFailed)]
        assert [(error.type, error.message) for error in failed] == [("ValueError", "no")]
        assert [type(answer) for answer in answers if isinstance(answer, CodecError)] == [CodecError]
        assert [answer for answer in answers if isinstance(answer, int)] == [1]
        assert [letter async for letter in bus.dead_letters.list()] == []


async def test_nobody_there(url: str) -> None:
    """Nobody to ask is an empty list, at once."""
    async with Bus(url) as bus:
        assert await asyncio.wait_for(bus.gather("a", None, wait=3600.0), timeout=20.0) == []


async def test_it_could_not_ask(trouble: Trouble) -> None:
    """When the question itself does not get out in time, that is no empty list."""
    never = asyncio.Event()

    async def hang(_: object) -> None:
        await never.wait()

    trouble.before["request"] = trouble.before["replies"] = hang
    async with Bus(trouble.url) as bus:
        with pytest.raises(RequestTimeout, match="was not asked"):
            await bus.gather("a", None, wait=0.01)


async def test_closing_ends_the_wait(url: str) -> None:
    """A bus that closes lets nobody wait for answers that cannot come."""
    bus, started = Bus(url, grace=0.01), asyncio.Event()

    @bus.handler("a", group="g")
    async def handler(body: None) -> int:
        started.set()
        await asyncio.Event().wait()
        return 1

    async with bus.running():
        waiting = asyncio.create_task(bus.gather("a", None, wait=3600.0))
        await started.wait()
    with pytest.raises(Exception, match="closed before the answer"):
        await waiting


async def test_a_transport_without_requests(altered: Callable[..., str]) -> None:
    """Gathering is refused where no answers come back."""
    async with Bus(altered(lacks="requests")) as bus:
        with pytest.raises(CapabilityError, match="no requests"):
            await bus.gather("a", None)
