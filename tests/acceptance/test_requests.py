"""Request and answer."""

import asyncio
from typing import Any

import msgspec
import pytest

from pabal import (
    Backoff,
    Bus,
    CodecError,
    ConfigurationError,
    Context,
    Message,
    NoResponders,
    Reject,
    RequestFailed,
    RequestTimeout,
    Retry,
)
from tests.acceptance.seen import PATIENCE, Seen, letters, until

SOON = 0.2
"""Seconds after which an answer that never comes is given up."""


class Total(msgspec.Struct):
    count: int


async def test_answer(url: str) -> None:
    """A handler's result is the answer, as the type that was asked for; a plain def's and a listener's, too."""
    bus = Bus(url)

    @bus.handler("total", group="g")
    async def total(names: list[str], message: Message) -> Total:
        assert message.reply_to is not None
        return Total(len(names))

    @bus.handler("plain", group="g")
    def plain(names: list[str]) -> bytes:
        return b"\0\xff"

    @bus.listen("listener")
    async def listener(names: list[str]):  # type: ignore[no-untyped-def]  # noqa: ANN202 - without an annotation
        return "text"

    async with bus.running():
        assert await bus.request("total", ["a", "b"], reply=Total) == Total(2)
        assert await bus.request("total", ["a", "b"]) == {"count": 2}
        assert await bus.request("total", ["a", "b"], reply=bytes) == b'{"count":2}'
        assert await bus.request("plain", []) == b"\0\xff"
        assert await bus.request("listener", []) == "text"


async def test_none(url: str) -> None:
    """None answers, as null, only where the annotation has another type; `-> None` and no annotation never do."""
    bus, seen = Bus(url), Seen()

    @bus.handler("maybe", group="g")
    async def maybe(body: str) -> int | None:
        return None

    @bus.handler("never", group="g")
    async def never(body: str) -> None:
        seen.add("never")

    @bus.handler("silent", group="g")
    async def silent(body: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - without an annotation
        seen.add("silent")

    async with bus.running():
        assert await bus.request("maybe", "x", reply=int | None) is None
        for channel in ("never", "silent"):
            with pytest.raises(RequestTimeout, match=f"no answer to {channel} within"):
                await bus.request(channel, "x", timeout=SOON)
    assert seen == ["never", "silent"]


@pytest.mark.parametrize(
    ("error", "type", "text"),
    [
        (ValueError("no such user"), "ValueError", "no such user"),
        (KeyError(), "KeyError", ""),
        (Reject("not ours"), "Reject", "not ours"),
        (Retry("busy", after=1.0), "Retry", "busy"),
        (asyncio.CancelledError("gone"), "CancelledError", "gone"),
    ],
    ids=lambda value: str(value)[:12],
)
async def test_failure(url: str, error: BaseException, type: str, text: str) -> None:
    """A failing request is told to its caller: not tried again, and no dead letter."""
    bus, seen = Bus(url, retry=Backoff(attempts=5, first=0)), Seen()

    @bus.handler("ask", group="g")
    async def handler(body: str) -> str:
        seen.add(body)
        raise error

    async with bus.running() as crew:
        with pytest.raises(RequestFailed) as failed:
            await bus.request("ask", "x")
        (counters,) = crew.counters.values()
        await until(lambda: counters.acked)
        assert [letter async for letter in bus.dead_letters.list()] == []
    assert (failed.value.type, failed.value.message) == (type, text)
    assert seen == ["x"]
    assert (counters.failed, counters.retried) == (1, 0)


async def test_other_failures(url: str) -> None:
    """A question of another type, a result that cannot be sent, and a timeout are told to the caller, too."""
    bus = Bus(url)

    @bus.handler("number", group="g")
    async def number(body: int) -> int:
        return body

    @bus.handler("odd", group="g")
    async def odd(body: Any) -> object:
        return object()

    @bus.handler("slow", group="g", timeout=0.01)
    async def slow(body: Any) -> int:
        await asyncio.Event().wait()
        return 1

    async with bus.running():
        with pytest.raises(RequestFailed, match="CodecError"):
            await bus.request("number", "seven")
        with pytest.raises(RequestFailed, match="CodecError"):
            await bus.request("odd", 1)
        with pytest.raises(RequestFailed, match=r"TimeoutError: not done within 0\.01 s"):
            await bus.request("slow", 1)
        with pytest.raises(CodecError):
            await bus.request("number", 1, reply=str | None)
        assert await bus.request("number", 1, reply=int) == 1


async def test_handler_that_never_answers_fails_as_any_other(url: str) -> None:
    """For a `-> None` handler a request is a message: its failure spoils no answer, and ends as a dead letter."""
    bus, seen = Bus(url, retry=Backoff(attempts=2, first=0)), Seen()
    audited = asyncio.Event()

    @bus.handler("ask", group="audit")
    async def audit(body: str, context: Context) -> None:
        seen.add(context.attempt)
        if context.attempt == 2:
            audited.set()
        raise ValueError("disk full")

    @bus.listen(">")
    async def log(message: Message) -> None:
        raise ValueError("no log")

    @bus.handler("ask", group="answer")
    async def answer(body: str) -> str:
        await audited.wait()
        return "yes"

    async with bus.running():
        assert await bus.request("ask", "x") == "yes"
        (letter,) = await letters(bus)
    assert seen == [1, 2]
    assert (letter.reason, letter.group) == ("exhausted", "audit")


async def test_no_responders(url: str) -> None:
    """A request that nobody is there for fails at once, and is never kept."""
    bus = Bus(url)

    @bus.handler("a", group="g")
    async def handler(body: str) -> int:
        return 1

    async with bus:
        with pytest.raises(NoResponders, match="nobody is there to answer a"):
            await bus.request("a", "x", timeout=PATIENCE)
        async with bus.running():
            assert await bus.request("a", "x") == 1
        with pytest.raises(NoResponders):
            await bus.request("a", "x", timeout=PATIENCE)
        assert [letter async for letter in bus.dead_letters.list()] == []


async def test_late_answer(url: str) -> None:
    """An answer after its time is dropped: nothing is left of it, and the next request gets its own."""
    bus, seen = Bus(url), Seen()
    answer = asyncio.Event()

    @bus.handler("ask", group="g", concurrency=2)
    async def handler(body: str) -> str:
        seen.add(body)
        if body == "slow":
            await answer.wait()
        return body

    async with bus.running() as crew:
        with pytest.raises(RequestTimeout):
            await bus.request("ask", "slow", timeout=SOON)
        answer.set()
        assert await bus.request("ask", "fast") == "fast"
        (counters,) = crew.counters.values()
        await until(lambda: counters.acked == 2)
        assert bus._connection is not None
        way_back = bus._connection.requester._way_back
        assert way_back is not None
        assert way_back._waiting == {}


async def test_many_in_flight(url: str) -> None:
    """A thousand requests at once get their own answers each."""
    bus = Bus(url)

    @bus.handler("double", group="g", concurrency=20)
    async def handler(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    async with bus.running():
        answers = await asyncio.gather(*(bus.request("double", n, reply=int, timeout=60.0) for n in range(1000)))
    assert answers == [n * 2 for n in range(1000)]


async def test_first_answer_counts(url: str) -> None:
    """Several groups may answer: the first answer is the answer, and the others do no harm."""
    bus = Bus(url)
    answered = asyncio.Event()

    @bus.handler("ask", group="quick")
    async def quick(body: str) -> str:
        return "quick"

    @bus.handler("ask", group="slow")
    async def slow(body: str) -> str:
        await answered.wait()
        return "slow"

    async with bus.running() as crew:
        assert await bus.request("ask", "x") == "quick"
        answered.set()
        await until(lambda: sum(counters.acked for counters in crew.counters.values()) == 2)


@pytest.mark.parametrize("plain", [False, True])
async def test_handler_asks_another(url: str, *, plain: bool) -> None:
    """A handler may ask another one; in a plain def it blocks."""
    bus, seen = Bus(url), Seen()

    @bus.handler("price", group="g")
    async def price(name: str, message: Message) -> int:
        seen.add(message)
        return len(name)

    if plain:

        @bus.handler("total", group="g")
        def total(names: list[str], context: Context) -> int:
            asked: list[Any] = [context.request("price", name, reply=int) for name in names]
            return sum(asked)

    else:

        @bus.handler("total", group="g")
        async def total_async(names: list[str], context: Context, message: Message) -> int:
            return sum([await context.request("price", name, reply=int) for name in names])

    async with bus.running():
        assert await bus.request("total", ["milk", "tea"], reply=int) == 7
    first, second = seen
    assert first.correlation_id == second.correlation_id == first.causation_id
    assert first.id != second.id


async def test_failure_comes_through_a_chain(url: str) -> None:
    """A handler that lets the failure of its own request through fails with it."""
    bus = Bus(url)

    @bus.handler("inner", group="g")
    async def inner(body: str) -> int:
        raise ValueError("no")

    @bus.handler("outer", group="g")
    def outer(body: str, context: Context) -> int:
        answer: Any = context.request("inner", body)
        return int(answer)

    async with bus.running():
        with pytest.raises(RequestFailed) as failed:
            await bus.request("outer", "x")
    assert (failed.value.type, failed.value.message) == ("RequestFailed", "ValueError: no")


@pytest.mark.parametrize("options", [{"timeout": -1}, {"reply": asyncio.Lock}, {"channel": "a.>"}], ids=str)
async def test_wrong_request(url: str, options: dict[str, Any]) -> None:
    """A request that makes no sense is refused before anything is sent."""
    async with Bus(url) as bus:
        with pytest.raises(ConfigurationError):
            await bus.request(**{"channel": "a", "value": 1, **options})
