"""How a bus is used, right and wrong, for type checkers alone: nothing here runs.

A line that is wrong is marked by ``type: ignore`` with the error that mypy has to give; `test_uses.py` has both mypy
and pyright say that each of these is needed and that nothing else is wrong.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol, assert_type

import msgspec

from pabal import Batch, BatchContext, BlockingContext, Bus, Channel, Context, Message, Outgoing, Receipt, Router


class NewItem(msgspec.Struct):
    item: str


class Saved(msgspec.Struct):
    id: int


NewItems = Channel("events.todo.newitem", NewItem)
ItemsSaved = Channel("events.todo.itemsaved", Saved)
bus = Bus("memory://")
router = Router()


async def publishing() -> None:
    assert_type(await bus.publish(NewItems, NewItem("milk"), key="user-7", delay=1.0), Receipt)
    await bus.publish("any.channel", {"item": "milk"})
    await bus.publish_many(NewItems, [NewItem("milk"), NewItem("tea")])
    await bus.publish_many(NewItems, (Outgoing(NewItem(item), key="user-7") for item in ("milk", "tea")))
    mixed: list[NewItem | Outgoing[NewItem]] = [NewItem("milk"), Outgoing(NewItem("tea"), key="user-7")]
    await bus.publish_many(NewItems, mixed)
    await bus.publish_many("any.channel", [1, "two", Outgoing(b"three")])

    await bus.publish(NewItems, "milk")  # type: ignore[misc]
    await bus.publish(NewItems, Saved(1))  # type: ignore[misc]
    await bus.publish(NewItems, NewItem("milk"), keys="user-7")  # type: ignore[call-arg]
    await bus.publish(NewItems, NewItem("milk"), headers={"tenant": 7})  # type: ignore[dict-item]
    await bus.publish_many(NewItems, [Saved(1)])  # type: ignore[misc]
    await bus.publish_many(NewItems, [Outgoing(Saved(1))])  # type: ignore[arg-type]


async def requesting() -> None:
    assert_type(await bus.request("todo.count", "milk", reply=int), int)
    assert_type(await bus.request(NewItems, NewItem("milk"), reply=Saved), Saved)
    answer: Any = await bus.request("todo.count", "milk")
    optional: Saved | None = await bus.request("todo.find", 1, reply=Saved | None)
    print(answer, optional)

    text: str = await bus.request("todo.count", "milk", reply=int)  # type: ignore[arg-type]
    await bus.request(NewItems, Saved(1), reply=int)  # type: ignore[misc]
    print(text)


async def pulling() -> None:
    async with bus.consumer(NewItems, group="report") as consumer:
        for delivery in await consumer.pull(max=10):
            assert_type(delivery.value, NewItem)
            wrong: Saved = delivery.value  # type: ignore[assignment]
            print(wrong)
    async with bus.consumer("any.channel", group="report", type=Saved) as typed:
        assert_type((await typed.pull())[0].value, Saved)
    bus.consumer(NewItems, group="report", type=Saved)  # type: ignore[call-overload]


# Handlers.


@bus.handler(NewItems, group="save", concurrency=8, timeout=5.0)
async def save(todo: NewItem, context: Context) -> None:
    await context.publish(ItemsSaved, Saved(1))
    assert_type(await context.request("todo.count", "milk", reply=int), int)
    assert_type(context.group, str | None)
    await context.publish(ItemsSaved, todo)  # type: ignore[misc]


@bus.handler(NewItems, group="as it is")
async def whole(message: Message) -> None: ...


@bus.handler(NewItems, group="raw")
async def raw(body: bytes) -> None: ...


@bus.handler(NewItems, group="wider")
def wider(todo: NewItem | Saved, context: BlockingContext) -> int:
    assert_type(context.publish(ItemsSaved, Saved(1), key="k"), Receipt)
    assert_type(context.request("todo.count", "milk", reply=int, timeout=1.0), int)
    context.publish(ItemsSaved, todo)  # type: ignore[misc]
    context.publish(ItemsSaved, Saved(1), keys="k")  # type: ignore[call-arg]
    return 1


@bus.handler("any.channel", group="any")
async def any_body(body: dict[str, int]) -> str:
    return str(body)


@router.listen(NewItems)
def heard(todo: NewItem) -> None: ...


@router.listen("events.>")
async def log(message: Message) -> None: ...


@bus.handler(NewItems, group="other")  # type: ignore[arg-type]
async def other(saved: Saved) -> None: ...


@router.listen(NewItems)  # type: ignore[arg-type]
def heard_other(saved: Saved) -> None: ...


@bus.handler(NewItems)  # type: ignore[call-overload, untyped-decorator]
async def no_group(todo: NewItem) -> None: ...


@bus.handler(NewItems, group="g", timeouts=5.0)  # type: ignore[call-overload, untyped-decorator]
async def no_such_option(todo: NewItem) -> None: ...


async def decorated_functions_keep_their_types(context: Context, blocking: BlockingContext) -> None:
    saving: Callable[[NewItem, Context], Coroutine[Any, Any, None]] = save
    await saving(NewItem("milk"), context)
    await save(NewItem("milk"), context=context)
    assert_type(wider(NewItem("milk"), context=blocking), int)
    assert_type(await any_body(body={}), str)
    await save(Saved(1), context)  # type: ignore[arg-type]
    await save(NewItem("milk"))  # type: ignore[call-arg]
    await any_body(1)  # type: ignore[arg-type]


# Batches.


@bus.handler(NewItems, group="batches", batch=Batch(100))
async def many(todos: list[NewItem], context: BatchContext) -> None:
    await context.publish(ItemsSaved, Saved(1), cause=0)
    assert_type(await context.request("todo.count", "milk", reply=int, cause=1), int)
    await context.publish(ItemsSaved, todos[0], cause=0)  # type: ignore[misc]
    await context.publish(ItemsSaved, Saved(1))  # type: ignore[call-arg]


@bus.handler(NewItems, group="whole batches", batch=Batch(100))
async def many_whole(messages: list[Message]) -> None: ...


@bus.handler(NewItems, group="one of many", batch=Batch(100))  # type: ignore[arg-type]
async def one_of_many(todo: NewItem) -> None: ...


# Results that are published.


@bus.handler(NewItems, group="publishes", publishes=ItemsSaved)
async def publishes(todo: NewItem) -> Saved | None:
    return Saved(1) if todo.item else None


@bus.handler("any.channel", group="publishes", publishes=ItemsSaved)
def publishes_in_thread(body: Message) -> Saved:
    return Saved(1)


@bus.handler(NewItems, group="anything", publishes="any.channel")
async def publishes_anything(todo: NewItem) -> str:
    return todo.item


@bus.handler(NewItems, group="wrong result", publishes=ItemsSaved)  # type: ignore[arg-type]
async def wrong_result(todo: NewItem) -> str:
    return todo.item


@bus.handler(NewItems, group="wrong body", publishes=ItemsSaved)  # type: ignore[arg-type]
def wrong_body(todo: Saved) -> Saved:
    return todo


# Middleware.


@bus.around_handling
async def handling(context: Context, call_next: Callable[[], Awaitable[Any]]) -> Any:
    assert_type(context.handler, str)
    return await call_next()


@bus.around_publishing
async def sending(message: Message, call_next: Callable[[Message], Awaitable[Receipt]]) -> Receipt:
    return await call_next(message)


@bus.around_publishing  # type: ignore[type-var]
async def forgets_the_receipt(message: Message, call_next: Callable[[Message], Awaitable[Receipt]]) -> None:
    await call_next(message)


@bus.around_handling  # type: ignore[type-var]
def not_async(context: Context, call_next: Callable[[], Awaitable[Any]]) -> None: ...


# What is provided.


class Clock(Protocol):
    def now(self) -> float: ...


class Fixed:
    def now(self) -> float:
        return 0.0


class Session: ...


@asynccontextmanager
async def session() -> AsyncGenerator[Session]:
    yield Session()


def providing() -> None:
    bus.provide(Clock, Fixed())
    bus.provide(Session, session)
    bus.provide(Session, Session())
    bus.provide(Session, lambda: Session())  # noqa: PLW0108 - a function, not the class
    bus.provide("session", session)  # type: ignore[arg-type]
