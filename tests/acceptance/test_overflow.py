"""What a listener is too slow for."""

import asyncio
import logging
from typing import Literal

import pytest

from pabal import Bus, ConfigurationError
from tests.acceptance.seen import Seen, letters


def limited(url: str, limit: int) -> str:
    return f"{url}{'&' if '?' in url else '?'}overflow={limit}"


async def test_overflow_is_parked_and_redriven(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost: a stuck listener gets as much as fits, the rest is dead letters until it can take them."""
    bus, seen, held = Bus(limited(url, 200)), Seen(), asyncio.Event()

    @bus.listen("news.>", concurrency=1)
    async def listen(number: int) -> None:
        await held.wait()
        seen.add(number)

    async with bus.running():
        with caplog.at_level(logging.WARNING):
            receipts = [*await bus.publish_many("news.a", range(450)), await bus.publish("news.b", 450)]
        parked = [letter async for letter in bus.dead_letters.list(reason="overflow")]
        assert {("news.>", None)} == {(letter.source, letter.group) for letter in parked}
        assert {True} == {receipt.routed for receipt in receipts}
        assert 451 - len(parked) == sum(receipt.receivers or 0 for receipt in receipts)
        assert 100 <= len(parked) <= 251
        if url.startswith("sqlite"):
            (said,) = [record.getMessage() for record in caplog.records if "too slow" in record.getMessage()]
            assert "a listener of news.> is too slow: 200 messages wait for it" in said

        stays = await bus.dead_letters.redrive(reason="overflow")
        assert any(result.error == "every listener of 'news.>' is too far behind to take it" for result in stays)
        held.set()
        while parked:
            await seen.wait(451 - len(parked))
            await bus.dead_letters.redrive(reason="overflow")
            parked = [letter async for letter in bus.dead_letters.list(reason="overflow")]
        assert list(range(451)) == sorted(await seen.wait(451))


async def test_a_slow_listener_takes_nothing_from_others(url: str) -> None:
    """Groups and quick listeners get everything meanwhile, and nothing of theirs is parked."""
    bus, seen, heard = Bus(limited(url, 50), grace=0), Seen(), Seen()

    @bus.listen("a", concurrency=1)
    async def stuck(number: int) -> None:
        await asyncio.Event().wait()

    @bus.listen("a")
    async def quick(number: int) -> None:
        heard.add(number)

    @bus.handler("a", group="g", concurrency=4)
    async def handle(number: int) -> None:
        seen.add(number)

    async with bus.running():
        for number in range(300):
            await bus.publish("a", number)
            await heard.wait(number + 1)
        await seen.wait(300)
        parked = [letter async for letter in bus.dead_letters.list()]
        assert {"overflow"} == {letter.reason for letter in parked}
        assert 250 >= len(parked) > 0
    assert list(range(300)) == sorted(seen) == sorted(heard)


@pytest.mark.parametrize("unrouted", ["raise", "drop"])
async def test_overflow_is_not_unrouted(url: str, unrouted: Literal["raise", "drop"]) -> None:
    """A listener is there, so the message has somebody; its copy is a dead letter whatever `unrouted` says."""
    bus = Bus(limited(url, 20), unrouted=unrouted, grace=0)

    @bus.listen("a", concurrency=1)
    async def stuck(number: int) -> None:
        await asyncio.Event().wait()

    async with bus.running():
        receipts = await bus.publish_many("a", range(400))
        assert {True} == {receipt.routed for receipt in receipts}
        assert 0 == receipts[-1].receivers
        overflow = [letter async for letter in bus.dead_letters.list(reason="overflow")]
        assert 400 - sum(receipt.receivers or 0 for receipt in receipts) == len(overflow)
        assert len(overflow) == await bus.dead_letters.discard(all=True)


async def test_requests_are_not_overflow(url: str) -> None:
    """Who asks waits for an answer: a listener that answers is asked even when it is far behind."""
    bus, held = Bus(limited(url, 5)), asyncio.Event()

    @bus.listen("a", concurrency=1)
    async def answer(number: int) -> int:
        await held.wait()
        return number + 1

    async with bus.running():
        await bus.publish_many("a", range(200))
        assert await letters(bus)
        asked = asyncio.ensure_future(bus.request("a", 41, reply=int, timeout=20))
        held.set()
        assert 42 == await asked


async def test_a_limit_is_at_least_one() -> None:
    """A listener that may have nothing is none."""
    for url in ("memory://?overflow=0", "sqlite:///x.db?overflow=0"):
        with pytest.raises(ConfigurationError, match="overflow"):
            async with Bus(url):
                pass
