"""Handlers of batches: what they are given, and how each item ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from pabal import (
    Backoff,
    Batch,
    BatchContext,
    BlockingBatchContext,
    Bus,
    ConfigurationError,
    Context,
    Message,
    Outgoing,
    Reject,
    RequestTimeout,
    Retry,
)
from pabal.testing import VirtualClock
from tests.acceptance.seen import Seen, letters, until


class Item(msgspec.Struct):
    name: str


def items(*names: str) -> list[Item]:
    return [Item(name) for name in names]


async def test_a_full_batch_does_not_wait(url: str) -> None:
    """A batch is handed over as soon as it is full, in the order of its messages."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g", batch=Batch(3, wait=1e6))
    async def handler(batch: list[Item], context: BatchContext) -> None:
        seen.add((batch, [message.body for message in context.messages], context.attempts, context.group))

    async with bus.running() as crew:
        await bus.publish_many("a", items("x", "y", "z"))
        ((batch, bodies, attempts, group),) = await seen.wait(1)
    assert batch == items("x", "y", "z")
    assert bodies == [b'{"name":"x"}', b'{"name":"y"}', b'{"name":"z"}']
    assert (list(attempts), group) == ([1, 1, 1], "g")
    assert [counters.acked for counters in crew.report.handlers.values()] == [3]


async def test_a_batch_waits_for_more_only_so_long() -> None:
    """What has come when the wait after the first is over is handed over."""
    clock = VirtualClock()
    bus, seen = Bus("memory://", clock=clock), Seen()

    @bus.handler("a", group="g", batch=Batch(100, wait=2.0))
    async def handler(batch: list[str]) -> None:
        seen.add(batch)

    async with bus.running() as crew:
        (worker,) = crew._workers
        await bus.publish("a", "x")
        await until(lambda: worker._in_hand and not worker._queue)
        clock.advance(1.0)
        await bus.publish("a", "y")
        await until(lambda: len(worker._in_hand) == 2 and not worker._queue)
        assert seen == []
        clock.advance(1.0)
        assert await seen.wait(1) == [["x", "y"]]


async def test_nothing_is_waited_for_with_no_wait(url: str) -> None:
    """With a wait of 0, a batch is what is there."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g", batch=Batch(100, wait=0))
    async def handler(batch: list[str]) -> None:
        seen.extend(batch)
        seen.add(len(batch))

    async with bus.running():
        await bus.publish_many("a", ["x", "y"])
        await until(lambda: {"x", "y"} <= set(seen))


async def test_batches_run_beside_each_other() -> None:
    """The concurrency counts batches, and no message is in two of them."""
    bus, seen, gate = Bus("memory://"), Seen(), asyncio.Event()

    @bus.handler("a", group="g", batch=Batch(10, wait=0.001), concurrency=3)
    async def handler(batch: list[int]) -> None:
        seen.add(batch)
        await gate.wait()

    async with bus.running():
        await bus.publish_many("a", range(30))
        got = await seen.wait(3)
        assert sorted(number for batch in got for number in batch) == list(range(30))
        assert len(got) == 3
        gate.set()


async def test_single_items_are_settled_by_name() -> None:
    """What the context retries or rejects ends so; the rest is done when the handler returns."""
    clock = VirtualClock()
    bus, seen = Bus("memory://", clock=clock), Seen()

    @bus.handler("a", group="g", batch=Batch(5, wait=1.0))
    async def handler(batch: list[str], context: BatchContext) -> None:
        seen.add((batch, list(context.attempts)))
        for index, body in enumerate(batch):
            if body == "bad":
                context.reject(index, "it is bad")
            elif body == "late" and context.attempts[index] == 1:
                context.reject(index)
                context.retry(index, "not yet", after=60.0)

    async with bus.running() as crew:
        await bus.publish_many("a", ["x", "bad", "y", "late", "z"])
        await seen.wait(1)
        (letter,) = await letters(bus)
        assert (letter.message.body, letter.reason) == (b"bad", "rejected")
        assert letter.attempts[-1].error == "Reject: it is bad"
        clock.advance(60.0)
        (worker,) = crew._workers
        await until(lambda: worker._in_hand and not worker._queue)
        clock.advance(1.0)
        assert (await seen.wait(2))[1] == (["late"], [2])
    (counters,) = crew.report.handlers.values()
    assert (counters.acked, counters.rejected, counters.retried, counters.failed) == (4, 1, 1, 0)


@pytest.mark.parametrize(
    ("error", "reason", "line"),
    [
        (ValueError("no"), "exhausted", "ValueError: no"),
        (Retry("no"), "exhausted", "Retry: no"),
        (Reject("no"), "rejected", "Reject: no"),
    ],
    ids=["error", "retry", "reject"],
)
async def test_a_failing_batch_fails_each_item(url: str, error: Exception, reason: str, line: str) -> None:
    """What the handler raises ends each item that was not named, with its own history; the named ones end as named."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g", batch=Batch(3, wait=0.2), retry=Backoff(attempts=2, first=0.0))
    async def handler(batch: list[str], context: BatchContext) -> None:
        seen.extend(zip(batch, context.attempts, strict=True))
        if "named" in batch:
            context.reject(batch.index("named"), "by name")
        raise error

    async with bus.running() as crew:
        await bus.publish_many("a", ["x", "named", "y"])
        found = {letter.message.body: letter for letter in await letters(bus, 3)}
    assert {body: letter.reason for body, letter in found.items()} == {b"x": reason, b"y": reason, b"named": "rejected"}
    for body in (b"x", b"y"):
        history = [(attempt.attempt, attempt.error) for attempt in found[body].attempts]
        assert history == [(number, line) for number in range(1, 2 if reason == "rejected" else 3)]
        assert ("test_batches.py" in found[body].attempts[-1].traceback) is isinstance(error, ValueError)
    assert [attempt.error for attempt in found[b"named"].attempts] == ["Reject: by name"]
    assert [counters.failed for counters in crew.report.handlers.values()] == [1 if reason == "rejected" else 2]


async def test_timeout_is_of_the_call(url: str) -> None:
    """A call that takes too long fails all of its items."""
    bus = Bus(url)

    @bus.handler("a", group="g", batch=Batch(2), timeout=0.01, retry=Backoff(attempts=1))
    async def handler(batch: list[str]) -> None:
        await asyncio.Event().wait()

    async with bus.running():
        await bus.publish_many("a", ["x", "y"])
        found = await letters(bus, 2)
    assert [letter.attempts[-1].error for letter in found] == ["TimeoutError: not done within 0.01 s"] * 2


async def test_undecodable_and_expired_items_are_no_part_of_it() -> None:
    """They become dead letters at once, and the handler does not see them."""
    clock = VirtualClock()
    bus, seen = Bus("memory://", clock=clock), Seen()

    @bus.handler("a", group="g", batch=Batch(2, wait=1e6))
    async def handler(batch: list[Item]) -> None:
        seen.add(batch)

    async with bus:
        async with bus.consumer("a", group="g"):
            await bus.publish("a", Item("old"), expires=1.0)
            await bus.publish("a", b"no JSON")
            await bus.publish("a", Item("x"))
            clock.advance(2.0)
        async with bus.running():
            assert {letter.reason for letter in await letters(bus, 2)} == {"expired", "undecodable"}
            assert seen == []
            await bus.publish("a", Item("y"))
            assert await seen.wait(1) == [items("x", "y")]


async def test_what_an_item_causes_has_the_same_id_in_every_batch() -> None:
    """The id derives from the item that is named as the cause, however the batch is cut; correlation follows too."""
    bus, out, second = Bus("memory://"), Seen(), asyncio.Event()

    @bus.handler("a", group="g", batch=Batch(2, wait=1e6), retry=Backoff(first=0.0))
    async def handler(batch: list[str], context: BatchContext) -> None:
        for index, body in enumerate(batch):
            for _ in range(2):
                await context.publish("out", body, cause=index)
        await context.publish("summary", len(batch), cause=None)
        if "x" in batch and not second.is_set():
            second.set()
            for index, body in enumerate(batch):
                if body == "x":
                    context.retry(index, after=0.0)

    @bus.listen("out")
    async def listen(message: Message) -> None:
        out.add(message)

    @bus.listen("summary")
    async def listen_to_summaries(message: Message) -> None:
        assert (message.causation_id, message.correlation_id) == (None, None)

    async with bus.running():
        sent = await bus.publish_many("a", ["w", "x", "y"])
        got = await out.wait(8)
    of = {body: [message for message in got if message.body == body] for body in (b"w", b"x", b"y")}
    assert [len(of[body]) for body in (b"w", b"x", b"y")] == [2, 4, 2]
    assert [message.id for message in of[b"x"][:2]] == [message.id for message in of[b"x"][2:]]
    assert len({message.id for message in got}) == 6
    assert {message.causation_id for message in of[b"x"]} == {sent[1].id}
    assert {message.correlation_id for message in of[b"y"]} == {sent[2].id}


async def test_a_plain_def_takes_batches(url: str) -> None:
    """In a thread, with a context that blocks."""
    bus, seen, caused = Bus(url), Seen(), Seen()

    @bus.handler("a", group="g", batch=Batch(2, wait=1.0))
    def handler(batch: list[str], context: BlockingBatchContext) -> None:
        receipt = context.publish("out", batch[1], cause=1)
        seen.add((receipt.id, context.request("double", 21, reply=int)))
        context.reject(0, "no")

    @bus.handler("out", group="g")
    async def out(body: str, message: Message) -> None:
        caused.add((message.id, message.causation_id))

    @bus.handler("double", group="g")
    async def double(number: int) -> int:
        return 2 * number

    async with bus.running():
        receipts = await bus.publish_many("a", ["x", "y"])
        (letter,) = await letters(bus)
        ((id, doubled),) = await seen.wait(1)
        assert await caused.wait(1) == [(id, receipts[1].id)]
    assert (letter.message.body, doubled) == (b"x", 42)


async def test_a_batch_answers_no_request(url: str) -> None:
    """A request is handled as any other message."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g", batch=Batch(1))
    async def handler(batch: list[str]) -> str:
        seen.extend(batch)
        return "answer"

    async with bus.running():
        # Long enough to be handled before it expires, however busy the machine is.
        asking = asyncio.create_task(bus.request("a", "x", timeout=2.0))
        await seen.wait(1)
        with pytest.raises(RequestTimeout):
            await asking


async def test_a_drain_gives_back_what_waits_for_more(url: str) -> None:
    """A batch that is not full has not started, so a drain does not wait for it and loses nothing."""
    bus = Bus(url)

    @bus.handler("a", group="g", batch=Batch(10, wait=1e6))
    async def handler(batch: list[str]) -> None:
        raise AssertionError(batch)

    async with bus:
        async with bus.running() as crew:
            (worker,) = crew._workers
            await bus.publish_many("a", ["x", "y"])
            await until(lambda: len(worker._in_hand) == 2 and not worker._queue)
        (counters,) = crew.report.handlers.values()
        assert (counters.released, counters.acked, crew.report.unfinished) == (2, 0, ())
        async with bus.consumer("a", group="g") as consumer:
            assert [(pulled.value, pulled.attempt) for pulled in await consumer.pull(max=5)] == [("x", 1), ("y", 1)]


async def test_an_unfinished_batch_is_named_item_by_item() -> None:
    """What runs when the grace is over is reported and given back."""
    bus, started = Bus("memory://", grace=0.01), asyncio.Event()

    @bus.handler("a", group="g", batch=Batch(2))
    async def handler(batch: list[str]) -> None:
        started.set()
        await asyncio.Event().wait()

    async with bus.running() as crew:
        receipts = await bus.publish_many("a", ["x", "y"])
        await started.wait()
    assert {left.message_id for left in crew.report.unfinished} == {receipt.id for receipt in receipts}
    assert [counters.released for counters in crew.report.handlers.values()] == [2]


async def test_ordered_batches_have_one_of_each_key() -> None:
    """Of one key at most one item is in a batch; the next comes once that batch is done."""
    bus, seen = Bus("memory://"), Seen()

    @bus.handler("a", group="g", ordered=True, batch=Batch(4, wait=0.01), concurrency=2)
    async def handler(batch: list[str], context: BatchContext) -> None:
        keys = [message.key for message in context.messages]
        assert len(set(keys)) == len(keys)
        await asyncio.sleep(0)
        for body in batch:
            seen.add(body)

    async with bus.running():
        await bus.publish_many("a", [Outgoing(f"{key}{n}", key=key) for n in range(10) for key in "abc"])
        got = await seen.wait(30)
    for key in "abc":
        assert [body for body in got if body[0] == key] == [f"{key}{n}" for n in range(10)]


async def test_messages_themselves(url: str) -> None:
    """A list of messages is given what no codec has touched."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g", batch=Batch(1))
    async def handler(batch: list[Message]) -> None:
        seen.extend(batch)
        seen.add(None)

    async with bus.running():
        await bus.publish("a", b"\xff")
        assert (await seen.wait(2))[0].body == b"\xff"


async def not_a_list(batch: Item) -> None: ...
async def single_context(batch: list[Item], context: Context) -> None: ...
async def single_message(batch: list[Item], message: Message) -> None: ...
async def unreadable(batch: list[asyncio.Event]) -> None: ...
async def of_contexts(batch: list[Context]) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (not_a_list, r"a list: list\[Item\]"),
        (single_context, "annotate it as BatchContext"),
        (single_message, "annotate it as BatchContext"),
        (unreadable, "cannot be decoded to Event"),
        (of_contexts, "put the context second"),
    ],
)
def test_signatures_that_take_no_batch(function: Any, says: str) -> None:
    """A handler of batches that does not take one is refused where it is registered, with the form that is wanted."""
    with pytest.raises(ConfigurationError, match=says):
        Bus("memory://").handler("a", group="g", batch=Batch())(function)


def test_a_batch_context_needs_a_batch() -> None:
    """The context of a batch in a handler of single messages is refused."""

    async def handler(body: Item, context: BatchContext) -> None: ...

    with pytest.raises(ConfigurationError, match=r"say batch=Batch\("):
        Bus("memory://").handler("a", group="g")(handler)


@pytest.mark.parametrize("wrong", [(0, 0.1), (True, 0.1), (1.5, 0.1), (1, -1.0), (1, float("nan"))], ids=str)
def test_what_no_batch_is(wrong: tuple[Any, Any]) -> None:
    """A size below 1 and a wait that is no time are refused."""
    with pytest.raises(ConfigurationError):
        Batch(wrong[0], wait=wrong[1])


async def test_an_item_that_is_none(url: str) -> None:
    """Naming an item that the batch does not have fails the batch, and says which there are."""
    bus = Bus(url)

    @bus.handler("a", group="g", batch=Batch(1), retry=Backoff(attempts=1))
    async def handler(batch: list[str], context: BatchContext) -> None:
        context.reject(1)

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert letter.attempts[-1].error == (
        "ConfigurationError: this batch has no item 1: an item is named by its place in the list, from 0 to 0"
    )


async def test_middleware_and_what_is_provided_are_of_the_call(url: str) -> None:
    """Both stand around one call for the whole batch, and fail with it."""
    bus, seen = Bus(url), Seen()

    class Session:
        pass

    session = Session()
    bus.provide(Session, session)

    @bus.around_handling
    async def around(context: Context, call_next: Callable[[], Awaitable[Any]]) -> Any:
        seen.add(("before", context.handler, type(context).__name__))
        try:
            return await call_next()
        finally:
            seen.add(("after", context.message.body))

    @bus.handler("a", group="g", batch=Batch(2), retry=Backoff(attempts=1))
    async def handler(batch: list[str], given: Session) -> None:
        assert given is session
        raise ValueError(len(batch))

    async with bus.running():
        await bus.publish_many("a", ["x", "y"])
        found = await letters(bus, 2)
        name = "handler (a @ g)"
        assert await seen.wait(2) == [("before", name, "BatchContext"), ("after", b"x")]
    assert [letter.attempts[-1].error for letter in found] == ["ValueError: 2"] * 2
