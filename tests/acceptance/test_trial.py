"""Testing a bus: its handlers on a private memory://, waited for exactly."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from pabal import (
    Backoff,
    Batch,
    Bus,
    CapabilityError,
    Channel,
    CodecError,
    ConfigurationError,
    Context,
    Message,
    Receipt,
    Reject,
    Retry,
)
from pabal.model.clock import SystemClock
from pabal.testing import VirtualClock


class Item(msgspec.Struct):
    name: str


Items = Channel("items.new", Item)
BUS = Bus("sqlite:////nowhere/it/can/be.db")
"""A bus as an application has it: at the top of a module, with a URL that no test reaches."""

handled: list[str] = []


@BUS.handler(Items, group="save")
async def save(item: Item, context: Context) -> None:
    handled.append(item.name)
    await context.publish("items.saved", item)


@pytest.mark.parametrize("time", ["first", "again"])
async def test_a_bus_at_the_top_of_a_module(time: str) -> None:
    """One bus serves any number of tests, each with an event loop of its own, and nothing reaches its own URL."""
    handled.clear()
    async with BUS.testing() as trial:
        receipt = await BUS.publish(Items, Item("milk"))
        assert receipt.routed
        await trial.settled()
        assert handled == ["milk"]
        assert [message.channel for message in trial.published] == ["items.new", "items.saved"]
        assert trial.values(Items) == [Item("milk")]
        assert trial.values("items.*", Item) == [Item("milk"), Item("milk")]
        assert trial.values("items.saved") == [{"name": "milk"}]
        assert [letter.reason for letter in trial.dead_letters] == ["unrouted"]
        with pytest.raises(CodecError):
            trial.values("items.saved", int)


async def test_settled_waits_for_all_that_follows() -> None:
    """Handlers that publish for handlers, listeners, plain functions, retries without a wait and requests."""
    bus, seen = Bus("memory://", retry=Backoff(first=0.0)), list[Any]()

    @bus.handler("count", group="g", concurrency=2)
    async def count(number: int, context: Context) -> None:
        await asyncio.sleep(0)
        if number:
            await context.publish("count", number - 1)
        elif context.attempt < 3:
            raise ValueError
        else:
            await context.publish("end", await context.request("double", 21, reply=int))

    @bus.handler("double", group="g")
    def double(number: int) -> int:
        return 2 * number

    @bus.handler("end", group="g")
    def end(number: int) -> None:
        time.sleep(0.01)
        seen.append(("handler", number, threading.current_thread() is threading.main_thread()))

    @bus.listen("end")
    async def listen(number: int) -> None:
        await asyncio.sleep(0.02)
        seen.append(("listener", number))

    async with bus.testing() as trial:
        await bus.publish("count", 50)
        await trial.settled()
        assert sorted(seen) == [("handler", 42, False), ("listener", 42)]
        await trial.settled()


async def test_many_at_once() -> None:
    """However many there are, and whatever their turn."""
    bus, seen = Bus("memory://"), set[int]()

    @bus.handler("a", group="g", concurrency=3, ordered=True)
    async def handler(number: int) -> None:
        for _ in range(number % 3):
            await asyncio.sleep(0)
        seen.add(number)

    async with bus.testing() as trial:
        for start in range(0, 1000, 100):
            await bus.publish_many("a", range(start, start + 100))
            await trial.settled()
            assert len(seen) == start + 100


async def test_time_stands_still_until_it_is_turned() -> None:
    """Retries and delays come when the test says so, each at its own time."""
    bus, seen = Bus("memory://", retry=Backoff(attempts=3)), list[tuple[str, int, float]]()
    begun = time.time()

    async with bus.testing() as trial:
        pass  # an empty test is one too

    @bus.handler("a", group="g")
    async def handler(body: str, context: Context) -> None:
        seen.append((body, context.attempt, round(trial.clock.time() - start)))
        if body == "fails":
            raise Retry(after=60.0)

    async with bus.testing() as trial:
        start = trial.clock.time()
        assert abs(start - begun) < 60.0
        await bus.publish("a", "later", delay=90.0)
        await bus.publish("a", "fails")
        await trial.settled()
        assert seen == [("fails", 1, 0)]
        await trial.advance(59.0)
        assert len(seen) == 1
        await trial.advance(100.0)
        assert seen == [("fails", 1, 0), ("fails", 2, 60), ("later", 1, 90), ("fails", 3, 120)]
        assert [letter.reason for letter in trial.dead_letters] == ["exhausted"]
        assert trial.clock.time() == start + 159.0


async def test_no_lease_ends_when_time_is_turned() -> None:
    """A handler that runs while the clock is turned is not taken for dead."""
    bus, gate, attempts = Bus("memory://"), asyncio.Event(), list[int]()

    @bus.handler("a", group="g")
    async def handler(body: str, context: Context) -> None:
        attempts.append(context.attempt)
        await gate.wait()

    clock = VirtualClock()
    async with bus.testing(clock=clock) as trial:
        await bus.publish("a", "x")
        clock.advance(86_400.0)
        gate.set()
        await trial.settled()
        assert attempts == [1]


async def test_what_stands_behind_a_dead_letter_does_not_move() -> None:
    """A key that is held back, or waits for a retry, has settled; what is redriven or due has not."""
    bus, seen, mended = Bus("memory://", retry=Backoff(first=0.0)), list[str](), False

    @bus.handler("a", group="g", ordered=True)
    async def handler(body: str, context: Context) -> None:
        if body == "late" and context.attempt == 1:
            raise Retry(after=5.0)
        if body == "dead" and not mended:
            raise Reject
        seen.append(body)

    async with bus.testing() as trial:
        for body in ("late", "dead", "last"):
            await bus.publish("a", body, key="k")
        await trial.settled()
        await trial.advance(5.0)
        assert seen == ["late"]
        await bus.publish("a", "more", key="k")
        await trial.settled()
        mended = True
        await bus.dead_letters.redrive(all=True)
        await trial.settled()
        assert seen == ["late", "dead", "last", "more"]


async def test_batches_do_not_wait() -> None:
    """A batch is what the test has published; nobody else could bring more."""
    bus, seen = Bus("memory://"), list[list[int]]()

    @bus.handler("a", group="g", batch=Batch(10, wait=3600.0))
    async def handler(batch: list[int]) -> None:
        seen.append(batch)

    async with bus.testing() as trial:
        await bus.publish_many("a", range(13))
        await trial.settled()
        assert sorted(number for batch in seen for number in batch) == list(range(13))
        assert max(len(batch) for batch in seen) == 10


async def test_what_does_not_settle_is_named() -> None:
    """Who waits for ever is told what for."""
    bus, gate = Bus("memory://"), asyncio.Event()

    @bus.handler("a", group="g")
    async def slow(body: str) -> None:
        await gate.wait()

    async with bus.testing() as trial:
        receipt = await bus.publish("a", "x")
        await bus.publish("a", "y")
        with pytest.raises(TimeoutError) as error:
            await trial.settled(patience=0.05)
        assert "not settled within 0.05 s: g of a has " in str(error.value)
        assert f"slow (a @ g) is handling {receipt.id}" in str(error.value)
        gate.set()
        await trial.settled()


async def test_what_is_being_published_is_waited_for() -> None:
    """A publish that middleware holds up in another task has not settled."""
    bus, gate, seen = Bus("memory://"), asyncio.Event(), list[str]()

    @bus.around_publishing
    async def hold_up(message: Message, call_next: Callable[[Message], Any]) -> Receipt:
        await gate.wait()
        receipt: Receipt = await call_next(message)
        return receipt

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.append(body)

    async with bus.testing() as trial:
        publishing = asyncio.create_task(bus.publish("a", "x"))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError, match="1 being published"):
            await trial.settled(patience=0.01)
        gate.set()
        await trial.settled()
        assert seen == ["x"]
        await publishing


async def test_an_application_under_test_keeps_its_own_lifecycle() -> None:
    """Entering the bus, running it and closing it change nothing under test."""
    bus, seen = Bus("sqlite:////nowhere/it/can/be.db"), list[str]()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.append(body)

    @contextlib.asynccontextmanager
    async def application() -> AsyncIterator[None]:
        async with bus, bus.running():
            yield

    async with bus.testing() as trial:
        async with application():
            await bus.publish("a", "x")
        await bus.publish("a", "y")
        await trial.settled()
        assert seen == ["x", "y"]


async def test_the_real_transport_has_a_say() -> None:
    """What the bus's own transport could not keep is refused in its tests, before the first message."""
    bus = Bus("sqlite:///todo.db")

    @bus.handler("a", group="g", start="oldest")
    async def handler(body: str) -> None: ...

    with pytest.raises(CapabilityError, match="leave out start="):
        async with bus.testing():
            pass


async def test_the_clock_of_the_machine() -> None:
    """With it, delays pass by themselves and cannot be turned."""
    bus, seen = Bus("memory://"), asyncio.Event()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.set()

    async with bus.testing(clock=SystemClock()) as trial:
        await bus.publish("a", "x", delay=0.01)
        await asyncio.wait_for(seen.wait(), 20.0)
        await trial.settled()
        with pytest.raises(ConfigurationError, match="leave out clock="):
            await trial.advance(1.0)


async def test_what_was_rejected_can_be_redriven() -> None:
    """The bus's own view of dead letters is that of the test."""
    bus, broken = Bus("memory://", dead_letters="sqlite:////nowhere/it/can/be.db"), True

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        if broken:
            raise Reject("no")

    async with bus.testing() as trial:
        await bus.publish("a", "x")
        await trial.settled()
        (letter,) = trial.dead_letters
        broken = False
        await bus.dead_letters.redrive([letter.id])
        await trial.settled()
        assert trial.dead_letters == []


async def test_a_bus_in_use_is_not_tested() -> None:
    """Neither one that is open, nor one that is closed, nor one under test."""
    bus = Bus("memory://")
    async with bus.testing():
        with pytest.raises(ConfigurationError, match="test it before"):
            async with bus.testing():
                pass
    async with bus:
        with pytest.raises(ConfigurationError, match="test it before"):
            async with bus.testing():
                pass
    with pytest.raises(ConfigurationError, match="closed"):
        async with bus.testing():
            pass


async def test_a_failing_test_leaves_nothing_behind() -> None:
    """An assertion that fails ends the test at once, and the next finds the bus as new."""
    bus = Bus("memory://")

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        await asyncio.sleep(0)

    async def test() -> None:
        async with bus.testing():
            await bus.publish("a", "x")
            raise AssertionError("the test's own")

    for _ in range(2):
        with pytest.raises(AssertionError, match="the test's own"):
            await test()
