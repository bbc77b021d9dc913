"""Handlers and listeners, and how many of them run at once."""

import asyncio
import functools
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from pabal import Backoff, Bus, Channel, ConfigurationError, Context, Message
from tests.acceptance.seen import Seen, until


class Item(msgspec.Struct):
    name: str


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (bytes, b"\0\xff"),
        (str, "지게"),
        (Item, Item("milk")),
        (Point, Point(3)),
        (dict, {"a": [1, None]}),
        (list[int], [1, 2]),
        (int | None, None),
        (Any, {"a": 1}),
        (Any, "text"),
        (Any, b"bytes"),
    ],
    ids=str,
)
async def test_bodies(url: str, annotation: Any, value: Any) -> None:
    """A body arrives as the type that its handler names; without a type, by its content type."""
    bus, seen = Bus(url), Seen()

    async def handler(body: Any) -> None:
        seen.add(body)

    handler.__annotations__["body"] = annotation
    bus.handler("a", group="g")(handler)
    async with bus.running():
        await bus.publish("a", value)
        assert await seen.wait(1) == [value]


async def test_message_and_context(url: str) -> None:
    """A handler gets the message and the context by annotation; the message is as it was published."""
    bus, seen = Bus(url, name="shop"), Seen()

    @bus.handler("a.*", group="g")
    async def whole(message: Message, context: Context) -> None:
        seen.add((message, context.message, context.attempt, context.group))

    async with bus.running():
        receipt = await bus.publish("a.b", Item("milk"), key="k", headers={"x": "y"})
        ((message, same, attempt, group),) = await seen.wait(1)
    assert message is same
    assert (attempt, group) == (1, "g")
    assert (message.id, message.channel, message.body) == (receipt.id, "a.b", b'{"name":"milk"}')
    assert (message.key, message.headers, message.source, message.type) == ("k", {"x": "y"}, "shop", "a.b")
    assert message.content_type == "application/json"


async def test_kinds_of_handlers(url: str) -> None:
    """Functions, plain ones too, methods, objects and partials are handlers."""
    bus, seen = Bus(url), Seen()

    class Store:
        async def save(self, item: Item) -> None:
            seen.add(("method", item.name))

        async def __call__(self, item: Item, context: Context) -> None:
            seen.add(("object", item.name))

    @bus.handler("a", group="async")
    async def waits(item: Item) -> None:
        seen.add(("async", item.name))

    @bus.handler("a", group="plain")
    def blocks(item: Item) -> None:
        seen.add(("plain", item.name))

    async def save(kind: str, item: Item, message: Message) -> None:
        seen.add((kind, item.name))

    bus.handler("a", group="method")(Store().save)
    bus.handler("a", group="object")(Store())
    bus.handler("a", group="partial")(functools.partial(save, "partial"))
    async with bus.running():
        receipt = await bus.publish("a", Item("milk"))
        assert receipt.receivers == 5
        got = await seen.wait(5)
    assert sorted(got) == [(kind, "milk") for kind in ("async", "method", "object", "partial", "plain")]


async def test_typed_channel(url: str) -> None:
    """A Channel serves wherever a name does."""
    bus, seen = Bus(url), Seen()
    items = Channel("events.item", Item)

    @bus.handler(items, group="g")
    async def handler(item: Item) -> None:
        seen.add(item)

    async with bus.running():
        await bus.publish(items, Item("milk"))
        await bus.publish_many(items, [Item("tea")])
        assert await seen.wait(2) == [Item("milk"), Item("tea")]


async def test_every_group_and_every_listener(url: str) -> None:
    """Each group gets a message once, each listener its own copy, several listeners of one source too."""
    bus, seen = Bus(url), Seen()
    for group in ("one", "two"):
        bus.handler("a.b", group=group)(functools.partial(seen_by, seen, group))
    for listener in ("first", "second"):
        bus.listen("a.>")(functools.partial(seen_by, seen, listener))
    async with bus.running() as crew:
        receipt = await bus.publish("a.b", 1)
        assert (receipt.routed, receipt.receivers) == (True, 4)
        assert sorted(await seen.wait(4)) == ["first", "one", "second", "two"]
    assert sorted(crew.report.handlers) == [
        "seen_by (a.>)",
        "seen_by (a.>) #2",
        "seen_by (a.b @ one)",
        "seen_by (a.b @ two)",
    ]
    assert [counters.acked for counters in crew.report.handlers.values()] == [1, 1, 1, 1]


async def seen_by(seen: Seen, who: str, body: Any) -> None:
    seen.add(who)


async def test_two_buses_share_a_group(url: str) -> None:
    """The members of a group divide its messages: each is handled once."""
    seen = Seen()
    first, second = Bus(url), Bus(url)
    for bus in (first, second):

        @bus.handler("a", group="g", concurrency=2)
        async def handler(number: int) -> None:
            await asyncio.sleep(0)
            seen.add(number)

    async with first.running(), second.running():
        await first.publish_many("a", range(100))
        assert sorted(await seen.wait(100)) == list(range(100))


@pytest.mark.parametrize("lanes", [1, 3])
async def test_concurrency(url: str, lanes: int) -> None:
    """A handler runs as many times at once as it says, and never more."""
    bus, seen = Bus(url), Seen()
    together = asyncio.Barrier(lanes)
    running = 0

    @bus.handler("a", group="g", concurrency=lanes)
    async def handler(number: int) -> None:
        nonlocal running
        running += 1
        seen.add(running)
        await together.wait()
        running -= 1

    async with bus.running():
        await bus.publish_many("a", range(lanes * 4))
        await seen.wait(lanes * 4)
        await until(lambda: running == 0)
    assert max(seen) == lanes


async def test_lanes_live_long(url: str) -> None:
    """No task is made per message: the lanes are as many as the concurrency."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g", concurrency=2)
    async def handler(number: int) -> None:
        await asyncio.sleep(0)
        seen.add(asyncio.current_task())

    async with bus.running():
        await bus.publish_many("a", range(50))
        assert len(set(await seen.wait(50))) == 2


async def test_one_lane_keeps_the_order(url: str) -> None:
    """A handler with one lane gets messages in the order of their publishing."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(number: int) -> None:
        if number % 7 == 0:
            await asyncio.sleep(0)
        seen.add(number)

    async with bus.running():
        for number in range(20):
            await bus.publish("a", number)
        await bus.publish_many("a", range(20, 200))
        assert await seen.wait(200) == list(range(200))


async def test_plain_handlers_are_bounded(url: str) -> None:
    """Plain def handlers run on threads, as many at once as their concurrency says."""
    bus, seen = Bus(url), Seen()
    together, lock = threading.Barrier(2), threading.Lock()
    running = 0

    @bus.handler("a", group="g", concurrency=2)
    def handler(number: int) -> None:
        nonlocal running
        with lock:
            running += 1
            seen.add(running)
        together.wait(10)
        with lock:
            running -= 1

    async with bus.running():
        await bus.publish_many("a", range(8))
        await seen.wait(8)
    assert max(seen) == 2


variable: ContextVar[str] = ContextVar("variable", default="untouched")


async def test_context_variables_stay_with_their_delivery(url: str) -> None:
    """What one delivery sets in a context variable is never seen by the next: after errors and awaits neither."""
    bus, seen = Bus(url, retry=Backoff(attempts=1)), Seen()

    @bus.handler("a", group="g")
    async def waits(number: int) -> None:
        before = variable.get()
        variable.set(f"async {number}")
        await asyncio.sleep(0)
        seen.add((before, variable.get()))
        if number % 2:
            raise ValueError("this one fails after it has set the variable")

    @bus.handler("b", group="g")
    def blocks(number: int) -> None:
        before = variable.get()
        variable.set(f"plain {number}")
        seen.add((before, variable.get()))

    async with bus.running():
        for number in range(4):
            await bus.publish("a", number)
            await bus.publish("b", number)
        got = await seen.wait(8)
    assert {before for before, _ in got} == {"untouched"}
    assert {after for _, after in got} >= {f"{kind} {number}" for kind in ("async", "plain") for number in range(4)}


async def test_a_row_of_deliveries_shares_no_context_variables(url: str) -> None:
    """Of many that a lane handles in a row, those that set a variable and those that only read it all begin alike."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(number: int) -> None:
        seen.add(variable.get())
        if not number % 3:
            variable.set(f"{number}")
        elif number % 3 == 1:
            variable.reset(variable.set("for a while"))

    async with bus.running():
        await bus.publish_many("a", range(60))
        assert await seen.wait(60) == ["untouched"] * 60


async def test_timeouts_and_task_groups_inside_handlers(url: str) -> None:
    """`asyncio.timeout` and `TaskGroup` work inside a handler, and leave its lane as it was."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(number: int) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        with pytest.raises(ExceptionGroup):  # noqa: PT012 - a group of tasks is no single statement
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                await asyncio.Event().wait()
        seen.add(asyncio.current_task())

    async def fails() -> None:
        raise KeyError

    async with bus.running():
        await bus.publish_many("a", [1, 2])
        first, second = await seen.wait(2)
        assert first is second


async def test_what_is_refused_at_registration(url: str) -> None:
    """A handler that cannot be is refused when it is written, with the reason."""
    bus = Bus(url)

    async def handler(body: str) -> None: ...
    def plain(body: str) -> None: ...

    with pytest.raises(ConfigurationError, match="plain def, whose thread cannot be cancelled"):
        bus.handler("a", group="g", timeout=1.0)(plain)
    for wrong in (
        {"source": "a b"},
        {"source": "a.>.b"},
        {"source": 7},
        {"group": "a b"},
        {"group": ""},
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"delivery": "exactly-once"},
    ):
        options: dict[str, Any] = {"source": "a", "group": "g", **wrong}
        with pytest.raises(ConfigurationError):
            bus.handler(options.pop("source"), **options)(handler)
    with pytest.raises(ConfigurationError):
        bus.listen("a", concurrency=0)
    with pytest.raises(ConfigurationError):
        bus.listen("not a channel")


async def test_two_handlers_of_one_group(url: str) -> None:
    """A second handler for one group and source is refused; another source, or group, is another handler."""
    bus = Bus(url)

    async def handler(body: str) -> None: ...

    bus.handler("a", group="g")(handler)
    bus.handler("a", group="h")(handler)
    bus.handler("a.>", group="g")(handler)
    with pytest.raises(ConfigurationError, match="has a handler in this bus already"):
        bus.handler("a", group="g")(handler)


async def test_decorator_gives_the_function_back(url: str) -> None:
    """A registered function is still itself."""

    async def handler(body: str) -> None: ...

    assert Bus(url).handler("a", group="g")(handler) is handler
    assert Bus(url).listen("a")(handler) is handler
