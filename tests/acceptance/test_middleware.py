"""Middleware around handling and around publishing, and results that are published."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import msgspec
import pytest

from pabal import (
    Backoff,
    Bus,
    Channel,
    ConfigurationError,
    Context,
    Message,
    Outgoing,
    PublishError,
    Receipt,
    Reject,
    RequestFailed,
    Router,
    Unrouted,
)
from pabal.runtime.batch import Batch, BatchContext
from tests.acceptance.seen import Seen, letters
from tests.acceptance.trouble import Trouble

Next = Callable[[], Awaitable[Any]]
Send = Callable[[Message], Awaitable[Receipt]]


class Doubled(msgspec.Struct):
    number: int


def with_header(message: Message, name: str, value: str) -> Message:
    return msgspec.structs.replace(message, headers={**message.headers, name: value})


# Around handling.


async def test_around_handling_in_order(url: str) -> None:
    """The first middleware is outermost; the bus's is outside of a router's, whose is called for its handlers alone."""
    bus, outer, inner, seen = Bus(url), Router(), Router(), Seen()

    def noting(name: str) -> Callable[[Context, Next], Any]:
        async def note(context: Context, call_next: Next) -> Any:
            seen.add(f"{name} in")
            result = await call_next()
            seen.add(f"{name} out {result}")
            return result

        return note

    async def handler(body: str) -> str:
        seen.add(body)
        return body

    bus.handler("plain", group="g")(handler)
    outer.handler("outer", group="g")(handler)
    inner.handler("inner", group="g")(handler)
    inner.around_handling(noting("inner"))
    outer.around_handling(noting("outer"))
    outer.include(inner)
    bus.include(outer)
    bus.around_handling(noting("first"))
    bus.around_handling(noting("second"))
    async with bus.running():
        await bus.request("plain", "a")
        assert list(seen) == ["first in", "second in", "a", "second out a", "first out a"]
        seen.clear()
        await bus.request("outer", "b")
        assert list(seen) == [
            "first in", "second in", "outer in", "b", "outer out b", "second out b", "first out b",
        ]  # fmt: skip
        seen.clear()
        await bus.request("inner", "c")
        assert [name for name in seen if name.endswith("in")] == ["first in", "second in", "outer in", "inner in"]


async def test_middleware_knows_the_delivery(url: str) -> None:
    """It has the context of the delivery: its message, attempt, group and handler; a listener has no group."""
    bus, seen = Bus(url), Seen()

    @bus.around_handling
    async def note(context: Context, call_next: Next) -> Any:
        seen.add((context.handler, context.group, context.attempt, context.message.channel))
        return await call_next()

    @bus.handler("a.b", group="g")
    async def handle(body: str) -> None: ...

    @bus.listen("a.*")
    def hear(body: str) -> None: ...

    async with bus.running():
        await bus.publish("a.b", "x")
        await seen.wait(2)
    assert sorted(seen, key=str) == [("handle (a.b @ g)", "g", 1, "a.b"), ("hear (a.*)", None, 1, "a.b")]


async def test_middleware_may_change_skip_and_fail(url: str) -> None:
    """What it returns is the result, what it raises is the failure, and without call_next the handler is not called."""
    bus, seen = Bus(url, retry=Backoff(attempts=1)), Seen()

    @bus.around_handling
    async def guard(context: Context, call_next: Next) -> Any:
        match context.message.body:
            case b"skip":
                return "skipped"
            case b"reject":
                raise Reject("not you")
            case b"mend":
                try:
                    return await call_next()
                except KeyError:
                    return "mended"
            case _:
                return f"<{await call_next()}>"

    @bus.handler("a", group="g")
    async def handle(body: str) -> str:
        seen.add(body)
        if body == "mend":
            raise KeyError(body)
        return body

    async with bus.running():
        assert [await bus.request("a", body) for body in ("go", "skip", "mend")] == ["<go>", "skipped", "mended"]
        with pytest.raises(RequestFailed, match="not you"):
            await bus.request("a", "reject")
        await bus.publish("a", "reject")
        (letter,) = await letters(bus)
    assert list(seen) == ["go", "mend"]
    assert (letter.reason, letter.attempts[-1].error) == ("rejected", "Reject: not you")


tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


async def test_context_variables_reach_the_handler_and_no_other_delivery(url: str) -> None:
    """What middleware sets in a context variable is seen by its handler, in a thread too, and by no other delivery."""
    bus, seen = Bus(url), Seen()

    @bus.around_handling
    async def as_tenant(context: Context, call_next: Next) -> Any:
        seen.add(tenant.get())
        tenant.set(context.message.headers["tenant"])
        return await call_next()

    @bus.handler("loop", group="g")
    async def in_loop(body: str) -> str:
        return tenant.get()

    @bus.handler("thread", group="g")
    def in_thread(body: str) -> str:
        return tenant.get()

    async with bus.running():
        for channel in ("loop", "thread", "loop"):
            assert await bus.request(channel, "", headers={"tenant": channel}) == channel
    assert list(seen) == ["nobody"] * 3


async def test_the_timeout_covers_middleware(url: str) -> None:
    """A handler's timeout is of all that is done for the message, and middleware may clean up as it ends."""
    bus, seen = Bus(url, retry=Backoff(attempts=1)), Seen()

    @bus.around_handling
    async def slow(context: Context, call_next: Next) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            seen.add("cleaned up")

    @bus.handler("a", group="g", timeout=0.01)
    async def handle(body: str) -> None: ...

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert letter.attempts[-1].error == "TimeoutError: not done within 0.01 s"
    assert list(seen) == ["cleaned up"]


async def test_middleware_around_a_batch(url: str) -> None:
    """A batch is one call: middleware and what is provided stand around it once, and it may settle single items."""
    bus, seen = Bus(url), Seen()

    @bus.around_handling
    async def refuse_twos(context: Context, call_next: Next) -> Any:
        assert isinstance(context, BatchContext)
        seen.add("in")
        await call_next()
        for index, message in enumerate(context.messages):
            if message.body == b"2":
                context.reject(index, "no twos")

    bus.provide(str, "given")

    @bus.handler("a", group="g", batch=Batch(3, wait=5.0))
    async def handle(numbers: list[int], given: str, context: BatchContext) -> None:
        seen.add((numbers, given))

    async with bus.running():
        await bus.publish_many("a", range(3))
        (letter,) = await letters(bus)
    assert list(seen) == ["in", ([0, 1, 2], "given")]
    assert letter.attempts[-1].error == "Reject: no twos"


# Around publishing.


async def test_around_publishing_sees_everything_that_is_sent(url: str) -> None:
    """Publishing, requests, and what handlers publish and return pass through it; each arrives as it was changed."""
    bus, seen = Bus(url), Seen()

    @bus.around_publishing
    async def stamp(message: Message, call_next: Send) -> Receipt:
        receipt = await call_next(with_header(message, "stamp", message.channel))
        seen.add((message.channel, receipt.id == message.id))
        return receipt

    got = Seen()

    @bus.handler("a", group="g", publishes="c")
    async def handle(body: str, context: Context) -> str:
        await context.publish("b", body)
        return str(await context.request("d", body, reply=str))

    @bus.handler("d", group="g")
    async def answer(body: str, message: Message) -> str:
        return message.headers["stamp"]

    @bus.handler("b", group="g")
    @bus.handler("c", group="g")
    async def end(body: str, message: Message) -> None:
        got.add((body, message.headers["stamp"]))

    async with bus.running():
        await bus.publish("a", "x")
        await got.wait(2)
    assert sorted(got) == [("d", "c"), ("x", "b")]
    assert sorted(seen) == [("a", True), ("b", True), ("c", True), ("d", True)]


async def test_around_publishing_in_order(url: str) -> None:
    """The first is outermost; what a router's handlers send passes the router's first, and nothing else does."""
    bus, router, seen = Bus(url), Router(), Seen()

    def noting(name: str) -> Callable[[Message, Send], Any]:
        async def note(message: Message, call_next: Send) -> Receipt:
            return await call_next(with_header(message, "path", f"{message.headers.get('path', '')}{name}"))

        return note

    @bus.handler("bus", group="g")
    @router.handler("router", group="g")
    async def handle(body: str, context: Context) -> str:
        await context.publish("end", body)
        return str(await context.request("asked", body))

    bus.around_publishing(noting("1"))
    bus.around_publishing(noting("2"))
    router.around_publishing(noting("3"))
    bus.include(router)

    @bus.handler("end", group="g")
    async def end(body: str, message: Message) -> None:
        seen.add((body, message.headers["path"]))

    @bus.handler("asked", group="g")
    async def asked(body: str, message: Message) -> str:
        return message.headers["path"]

    async with bus.running():
        assert [await bus.request(channel, channel) for channel in ("bus", "router")] == ["12", "312"]
        await seen.wait(2)
    assert sorted(seen) == [("bus", "12"), ("router", "312")]


async def test_many_messages_pass_one_by_one_and_travel_together(trouble: Trouble) -> None:
    """Each message of publish_many passes by itself, and the transport gets those that come through in one batch."""
    bus = Bus(trouble.url)
    skipped = Receipt("skipped")

    @bus.around_publishing
    async def pick(message: Message, call_next: Send) -> Receipt:
        if message.body == b"1":
            return skipped
        if message.body == b"2":
            await asyncio.sleep(0)
        return await call_next(with_header(message, "n", message.body.decode()))

    async with bus, bus.consumer("a", group="g") as consumer:
        receipts = await bus.publish_many("a", [0, 1, Outgoing(2, key="k"), 3])
        pulled = await consumer.pull(max=10, wait=1.0)
    assert [one.value for one in pulled] == [0, 2, 3]
    assert [one.message.headers["n"] for one in pulled] == ["0", "2", "3"]
    assert [receipts[0].id, skipped.id, *(receipt.id for receipt in receipts[2:])] == [
        pulled[0].message.id, "skipped", *(one.message.id for one in pulled[1:]),
    ]  # fmt: skip
    assert trouble.calls["publish"] == 1


async def test_one_message_of_many_that_middleware_refuses(url: str) -> None:
    """The others are published; the error's receipts tell which was not, and its cause is what middleware raised."""
    bus = Bus(url)

    @bus.around_publishing
    async def refuse(message: Message, call_next: Send) -> Receipt:
        if message.body == b"1":
            raise KeyError("tenant")
        return await call_next(message)

    async with bus, bus.consumer("a", group="g") as consumer:
        with pytest.raises(PublishError, match=r"1 of 3 messages were not taken, .*KeyError: 'tenant'") as caught:
            await bus.publish_many("a", range(3))
        pulled = await consumer.pull(max=10, wait=1.0)
        with pytest.raises(KeyError, match="tenant"):
            await bus.publish("a", 1)
    assert [one.value for one in pulled] == [0, 2]
    assert [receipt.error is None for receipt in caught.value.receipts] == [True, False, True]
    assert isinstance(caught.value.__cause__, KeyError)


async def test_middleware_sees_failures_and_may_try_again(url: str) -> None:
    """call_next raises what publishing raises, of each message of many too, and it may be called again."""
    bus, seen = Bus(url, unrouted="raise"), Seen()

    @bus.around_publishing
    async def elsewhere(message: Message, call_next: Send) -> Receipt:
        try:
            return await call_next(message)
        except Unrouted:
            seen.add(message.body)
            return await call_next(msgspec.structs.replace(message, channel="known"))

    async with bus, bus.consumer("known", group="g") as consumer:
        receipts = await bus.publish_many("unknown", range(2))
        await bus.publish("unknown", 2)
        pulled = await consumer.pull(max=10, wait=1.0)
    assert [one.value for one in pulled] == [0, 1, 2]
    assert [receipt.id for receipt in receipts] == [one.message.id for one in pulled[:2]]
    assert list(seen) == [b"0", b"1", b"2"]


async def test_unrouted_stays_unrouted(url: str) -> None:
    """Middleware that hands on leaves errors what they are: of one message, and of many."""
    bus = Bus(url, unrouted="raise")

    @bus.around_publishing
    async def hand_on(message: Message, call_next: Send) -> Receipt:
        return await call_next(message)

    async with bus:
        with pytest.raises(Unrouted):
            await bus.publish("nobody", 1)
        with pytest.raises(Unrouted) as caught:
            await bus.publish_many("nobody", range(3))
    assert [receipt.routed for receipt in caught.value.receipts] == [False] * 3


async def forgets(message: Message, call_next: Send) -> Receipt:
    await call_next(message)
    return None  # type: ignore[return-value]


async def reserved(message: Message, call_next: Send) -> Receipt:
    return await call_next(with_header(message, "ce-id", "x"))


async def answers_elsewhere(message: Message, call_next: Send) -> Receipt:
    return await call_next(msgspec.structs.replace(message, reply_to="elsewhere"))


async def body_only(message: Message, call_next: Send) -> Receipt:
    return await call_next(message.body)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("middleware", "text"),
    [
        (forgets, r"returned a NoneType; it returns the receipt, as in: return await call_next\(message\)"),
        (reserved, "'ce-id' is reserved"),
        (answers_elsewhere, "cannot change where an answer goes"),
        (body_only, "hands on a Message, not a bytes"),
    ],
    ids=["forgets", "reserved", "reply_to", "body"],
)
async def test_what_middleware_must_not_do(url: str, middleware: Any, text: str) -> None:
    """A change that no transport could carry, or that nobody could follow, is an error where it is made."""
    bus = Bus(url)
    bus.around_publishing(middleware)
    async with bus:
        with pytest.raises(ConfigurationError, match=text):
            await bus.publish("a", 1)


async def too_few(context: Context) -> None: ...


def not_async(context: Context, call_next: Next) -> None: ...


@pytest.mark.parametrize("kind", ["around_handling", "around_publishing"])
@pytest.mark.parametrize(
    ("middleware", "text"),
    [(too_few, r"is called as too_few\(\w+, call_next\)"), (not_async, "write async def not_async")],
    ids=["parameters", "def"],
)
def test_what_is_no_middleware(kind: str, middleware: Any, text: str) -> None:
    """A function that cannot be called as middleware is refused where it is written."""
    with pytest.raises(ConfigurationError, match=text):
        getattr(Router(), kind)(middleware)


async def test_middleware_comes_before_the_first_use(url: str) -> None:
    """Once a bus is connected its middleware is fixed: none could miss the messages that were sent before."""
    bus = Bus(url)
    async with bus:
        with pytest.raises(ConfigurationError, match="register middleware before the bus is used"):
            bus.around_publishing(forgets)


# What handlers return.


async def test_a_result_is_published(url: str) -> None:
    """What a handler returns goes to the channel it names, as its own message's consequence; None goes nowhere."""
    bus, seen = Bus(url), Seen()

    @bus.handler("numbers", group="g", publishes=Channel("doubles", Doubled))
    async def double(number: int) -> Doubled | None:
        return Doubled(number * 2) if number else None

    @bus.handler("doubles", group="g")
    async def see(doubled: Doubled, message: Message) -> None:
        seen.add((doubled.number, message.causation_id, message.correlation_id))

    async with bus.running():
        receipts = await bus.publish_many("numbers", [0, 4])
        await seen.wait(1)
    assert list(seen) == [(8, receipts[1].id, receipts[1].id)]


async def test_a_retried_result_is_the_same_message(url: str) -> None:
    """The id of a result derives from its message, so that a retry publishes it again under the same."""
    bus, seen = Bus(url, retry=Backoff(attempts=3, first=0.0)), Seen()

    @bus.around_publishing
    async def fail_after_sending(message: Message, call_next: Send) -> Receipt:
        receipt = await call_next(message)
        if message.channel == "doubles":
            seen.add(message.id)
            if len(seen) < 2:
                raise OSError("no answer")
        return receipt

    @bus.handler("numbers", group="g", publishes="doubles")
    async def double(number: int) -> int:
        return number * 2

    async with bus.running():
        await bus.publish("numbers", 4)
        await seen.wait(2)
    assert len(seen) == 2
    assert seen[0] == seen[1]


async def test_a_result_that_cannot_be_published_fails_the_attempt(url: str) -> None:
    """Only once its result is taken is a message done: it is tried again, and ends as a dead letter."""
    bus = Bus(url, retry=Backoff(attempts=2, first=0.0), unrouted="raise")

    @bus.handler("numbers", group="g", publishes="nobody.listens")
    async def double(number: int) -> int:
        return number * 2

    async with bus.running():
        await bus.publish("numbers", 4)
        (letter,) = await letters(bus)
    assert (letter.reason, len(letter.attempts)) == ("exhausted", 2)
    assert letter.attempts[-1].error == "Unrouted: nobody takes nobody.listens"


async def test_a_request_is_answered_too(url: str) -> None:
    """A result is published and answers a request as well; what middleware makes of it is what both get."""
    bus, seen = Bus(url), Seen()

    @bus.around_handling
    async def add_one(context: Context, call_next: Next) -> Any:
        result = await call_next()
        return None if result is None else result + 1

    @bus.handler("numbers", group="g", publishes="doubles")
    def double(number: int) -> int:
        return number * 2

    @bus.handler("doubles", group="g")
    async def see(number: int) -> None:
        seen.add(number)

    async with bus.running():
        assert await bus.request("numbers", 4, reply=int) == 9
        await seen.wait(1)
    assert list(seen) == [9]


def test_results_that_go_nowhere() -> None:
    """A handler that says it returns nothing publishes nothing, and a pattern is no place to publish to."""
    bus = Bus("memory://")
    with pytest.raises(ConfigurationError, match="returns None, so nothing would be published to b"):

        @bus.handler("a", group="g", publishes="b")
        async def handle(body: str) -> None: ...

    with pytest.raises(ConfigurationError, match="pattern"):
        bus.handler("a", group="g", publishes="b.*")
    with pytest.raises(ConfigurationError, match="publishes= is for handlers of single messages"):
        bus.handler("a", group="g", publishes="b", batch=Batch(2))
