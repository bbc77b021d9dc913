"""What becomes of a message whose handler fails."""

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from pabal import Backoff, Bus, Context, Message, Reject, Retry
from pabal.model.clock import VirtualClock
from tests.acceptance.seen import Seen, letters, until

AT_ONCE = Backoff(attempts=3, first=0)


class Item(msgspec.Struct):
    name: str


async def test_attempts_and_history(url: str) -> None:
    """A failing message is tried `attempts` times, then it is a dead letter with every attempt's traceback."""
    bus, seen = Bus(url, retry=AT_ONCE), Seen()

    @bus.handler("a", group="g")
    async def handler(message: Message, context: Context) -> None:
        seen.add(context.attempt)
        deeper(context.attempt)

    def deeper(attempt: int) -> None:
        raise ValueError(f"no {attempt}")

    async with bus.running() as crew:
        receipt = await bus.publish("a", {"a": 1}, headers={"x": "y"}, key="k")
        (letter,) = await letters(bus)
    assert seen == [1, 2, 3]
    assert (letter.reason, letter.source, letter.group, letter.redrives) == ("exhausted", "a", "g", 0)
    assert (letter.message.id, letter.message.body) == (receipt.id, b'{"a":1}')
    assert (letter.message.headers, letter.message.key) == ({"x": "y"}, "k")
    assert [(failure.attempt, failure.error) for failure in letter.attempts] == [
        (1, "ValueError: no 1"),
        (2, "ValueError: no 2"),
        (3, "ValueError: no 3"),
    ]
    for failure in letter.attempts:
        lines = failure.traceback.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[1].endswith("in handler")
        assert "in deeper" in failure.traceback
        assert "pabal/runtime" not in failure.traceback
    (counters,) = crew.report.handlers.values()
    assert (counters.failed, counters.retried, counters.rejected, counters.acked) == (3, 2, 1, 0)


async def test_plain_handler_s_traceback(url: str) -> None:
    """A plain handler's traceback begins with its own code, too."""
    bus = Bus(url, retry=Backoff(attempts=1))

    @bus.handler("a", group="g")
    def handler(body: str) -> None:
        next(iter(()))

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    (failure,) = letter.attempts
    assert failure.error == "RuntimeError: the handler raised StopIteration"
    assert "in handler" in failure.traceback
    assert "pabal/runtime/threads" not in failure.traceback


async def test_handler_s_own_backoff_comes_first(url: str) -> None:
    """A handler's retry= goes before the bus's."""
    bus, seen = Bus(url, retry=Backoff(attempts=5, first=0)), Seen()

    @bus.handler("a", group="g", retry=Backoff(attempts=2, first=0))
    async def handler(body: str, context: Context) -> None:
        seen.add(context.attempt)
        raise ValueError

    async with bus.running():
        await bus.publish("a", "x")
        await letters(bus)
    assert seen == [1, 2]


async def test_recovers(url: str) -> None:
    """A message that is handled at a later attempt is done."""
    bus, seen = Bus(url, retry=AT_ONCE), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str, context: Context) -> None:
        seen.add(context.attempt)
        if context.attempt < 3:
            raise ValueError

    async with bus.running() as crew:
        await bus.publish("a", "x")
        await seen.wait(3)
    (counters,) = crew.report.handlers.values()
    assert (counters.retried, counters.acked, counters.rejected) == (2, 1, 0)


async def test_retry_after() -> None:
    """Retry(after=) brings the message back after just so many seconds, and counts as an attempt."""
    clock = VirtualClock()
    bus, seen = Bus("memory://", retry=Backoff(attempts=2), clock=clock), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str, context: Context) -> None:
        seen.add(context.attempt)
        raise Retry("not yet", after=30.0)

    async with bus.running() as crew:
        await bus.publish("a", "x")
        await seen.wait(1)
        await until(lambda: next(iter(crew.counters.values())).retried)
        clock.advance(29.9)
        await asyncio.sleep(0)
        assert seen == [1]
        clock.advance(0.2)
        assert await seen.wait(2) == [1, 2]
        (letter,) = await letters(bus)
    assert letter.reason == "exhausted"
    assert [failure.error for failure in letter.attempts] == ["Retry: not yet", "Retry: not yet"]


async def test_backoff_waits() -> None:
    """Without after=, the wait before the next try is the backoff's."""
    clock = VirtualClock()
    bus, seen = Bus("memory://", retry=Backoff(attempts=3, first=10.0, factor=2.0), clock=clock), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str, context: Context) -> None:
        seen.add(clock.time())
        raise ValueError

    async with bus.running() as crew:
        await bus.publish("a", "x")
        for attempt in (1, 2):
            await seen.wait(attempt)
            await until(lambda attempt=attempt: next(iter(crew.counters.values())).retried == attempt)  # type: ignore[misc]
            clock.advance(20.0)
        await letters(bus)
    first, second, third = seen
    assert first <= second <= first + 20
    assert second <= third <= second + 20


async def test_reject(url: str) -> None:
    """Reject is a dead letter at the first attempt."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str, context: Context) -> None:
        seen.add(context.attempt)
        raise Reject("no such customer")

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert seen == [1]
    assert letter.reason == "rejected"
    assert [failure.error for failure in letter.attempts] == ["Reject: no such customer"]


async def test_undecodable(url: str) -> None:
    """A body that is not what its handler takes is a dead letter at once, and the handler goes on."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(item: Item) -> None:
        seen.add(item)

    async with bus.running():
        for bad in ({"name": 1}, b"\xff", "no json", "[" * 100_000):
            await bus.publish("a", bad)
        await bus.publish("a", Item("good"))
        assert await seen.wait(1) == [Item("good")]
        found = await letters(bus, 4)
    assert [letter.reason for letter in found] == ["undecodable"] * 4
    assert all(len(letter.attempts) == 1 and letter.attempts[0].error for letter in found)


async def test_codec_that_breaks(url: str) -> None:
    """A custom codec may raise what it likes: the message is a dead letter, the handler goes on."""

    class Odd:
        def encode(self, value: object, /) -> tuple[bytes, str]:
            return str(value).encode(), "text/odd"

        def decode(self, body: bytes, content_type: str | None, type: Any, /) -> Any:
            if body == b"bad":
                raise ZeroDivisionError("odd")
            return body.decode()

    bus, seen = Bus(url, codec=Odd()), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)

    async with bus.running():
        await bus.publish_many("a", ["bad", "good"])
        assert await seen.wait(1) == ["good"]
        (letter,) = await letters(bus)
    assert (letter.reason, letter.attempts[0].error) == ("undecodable", "ZeroDivisionError: odd")


async def test_expired() -> None:
    """A message whose time is up before it is handled is a dead letter; in time it is handled."""
    clock = VirtualClock()
    bus, seen = Bus("memory://", clock=clock), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)

    async with bus:
        async with bus.running():
            await bus.publish("a", "in time", expires=5.0)
            await seen.wait(1)
        await bus.publish("a", "late", expires=5.0)
        clock.advance(5.0)
        async with bus.running() as crew:
            (letter,) = await letters(bus)
    assert seen == ["in time"]
    assert (letter.reason, letter.message.body, letter.group) == ("expired", b"late", "g")
    (counters,) = crew.report.handlers.values()
    assert (counters.failed, counters.rejected) == (0, 1)


async def test_redriven_after_expiry_is_handled() -> None:
    """A person who sends an expired letter again has decided: it is handled."""
    clock = VirtualClock()
    bus, seen = Bus("memory://", clock=clock), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.add(body)

    async with bus:
        async with bus.running():
            pass
        await bus.publish("a", "late", expires=5.0)
        clock.advance(5.0)
        async with bus.running():
            await letters(bus)
            await bus.dead_letters.redrive(all=True)
            assert await seen.wait(1) == ["late"]


async def test_listener_fails(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A listener's failure is logged and counted, not tried again and not parked; it goes on listening."""
    bus, seen = Bus(url), Seen()

    @bus.listen("a")
    async def listener(number: int) -> None:
        seen.add(number)
        if number == 1:
            raise ValueError("no")

    async with bus.running() as crew:
        with caplog.at_level(logging.WARNING, "pabal"):
            await bus.publish_many("a", [1, "not a number", 2])
            assert await seen.wait(2) == [1, 2]
        assert [letter async for letter in bus.dead_letters.list()] == []
    (counters,) = crew.report.handlers.values()
    assert (counters.failed, counters.retried, counters.rejected) == (2, 0, 0)
    assert "ValueError: no" in caplog.text


async def test_dead_letter_is_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """That a message became a dead letter stands in the log, with the reason."""
    bus = Bus(url)

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        raise Reject("no such customer")

    async with bus.running():
        receipt = await bus.publish("a", "x")
        await letters(bus)
    assert f"{receipt.id} is a dead letter (rejected): Reject: no such customer" in caplog.text


async def test_error_whose_text_breaks(url: str) -> None:
    """An exception that cannot even be printed costs nothing but its own message."""
    bus, seen = Bus(url, retry=Backoff(attempts=1)), Seen()

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        if body == "bad":
            raise Broken
        if body == "odd":
            raise ValueError("nul \0 and half a character \ud800")
        seen.add(body)

    async with bus.running():
        await bus.publish_many("a", ["bad", "odd", "good"])
        assert await seen.wait(1) == ["good"]
        found = await letters(bus, 2)
    errors = [letter.attempts[0].error for letter in found]
    assert errors[0].startswith("Broken: <its text cannot be read")
    assert errors[1] == "ValueError: nul \\x00 and half a character \\ud800"
