"""Bodies of other kinds: Pydantic models, and a codec of the user's own."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pydantic
import pytest

from pabal import Backoff, Batch, Bus, Channel, CodecError, ConfigurationError, Context, Message, RequestFailed, Router
from tests.acceptance.seen import Seen, letters


class Order(pydantic.BaseModel):
    """A model with what Pydantic does and msgspec does not: a constraint of its own and another name on the wire."""

    item: str = pydantic.Field(min_length=1)
    placed_at: datetime = pydantic.Field(alias="placedAt")

    @pydantic.field_validator("item")
    @classmethod
    def no_shouting(cls, item: str) -> str:
        if item.isupper():
            raise ValueError("do not shout")
        return item


class Placed(pydantic.BaseModel):
    orders: list[Order]


Orders = Channel("orders", Order)
MORNING = datetime(2026, 1, 2, 8, tzinfo=UTC)
MILK = Order(item="milk", placedAt=MORNING)


async def test_models_there_and_back(url: str) -> None:
    """A model is published, handled, published again as a result, asked for and pulled, each time as a model."""
    bus, seen = Bus(url), Seen()

    @bus.handler(Orders, group="g", publishes="placed")
    async def place(order: Order, message: Message) -> Placed:
        seen.add((order, message.content_type, msgspec.json.decode(message.body)))
        return Placed(orders=[order])

    async with bus.running(), bus.consumer("placed", group="g", type=Placed) as consumer:
        answer = await bus.request(Orders, MILK, reply=Placed)
        (pulled,) = await consumer.pull(wait=5.0)
    assert seen == [(MILK, "application/json", {"item": "milk", "placedAt": "2026-01-02T08:00:00Z"})]
    assert answer == pulled.value == Placed(orders=[MILK])


async def test_models_within_other_types(url: str) -> None:
    """Lists of models, models that may be missing, and batches of them are decoded as such."""
    bus, seen = Bus(url), Seen()

    @bus.handler("many", group="g")
    async def many(orders: list[Order]) -> None:
        seen.add(orders)

    @bus.handler("maybe", group="g")
    async def maybe(order: Order | None) -> None:
        seen.add(order)

    @bus.handler("batches", group="g", batch=Batch(2, wait=5.0))
    async def batches(orders: list[Order]) -> None:
        seen.add(orders)

    async with bus.running():
        for channel, value in (("many", [MILK]), ("maybe", None), ("maybe", MILK)):
            await bus.publish(channel, value)
            await seen.wait(len(seen) + 1)
        await bus.publish_many("batches", [MILK, MILK])
        await seen.wait(4)
    assert seen == [[MILK], None, MILK, [MILK, MILK]]


async def test_what_a_model_refuses_is_undecodable(url: str) -> None:
    """A body that the model's own validators refuse is a dead letter at once that says why; no handler sees it."""
    bus, seen = Bus(url), Seen()

    @bus.handler(Orders, group="g")
    async def place(order: Order) -> str:
        seen.add(order)
        return order.item

    async with bus.running():
        await bus.publish("orders", {"item": "MILK", "placedAt": MORNING})
        (letter,) = await letters(bus)
        with pytest.raises(RequestFailed, match="placedAt"):
            await bus.request("orders", {"item": "milk"})
    assert letter.reason == "undecodable"
    assert len(letter.attempts) == 1
    assert "do not shout" in letter.attempts[0].error + letter.attempts[0].traceback
    assert seen == []


async def test_an_answer_that_the_model_refuses(url: str) -> None:
    """An answer of another shape is a CodecError for whoever asked."""
    bus = Bus(url)

    @bus.handler("ask", group="g")
    async def answer(body: str) -> dict[str, str]:
        return {"orders": "none"}

    async with bus.running():
        with pytest.raises(CodecError, match="orders"):
            await bus.request("ask", "", reply=Placed)


# A codec of the user's own.


class MessagePack:
    """Bodies in MessagePack: one object, two methods."""

    def encode(self, value: object, /) -> tuple[bytes, str]:
        try:
            return msgspec.msgpack.encode(value), "application/msgpack"
        except TypeError as error:
            raise CodecError(f"a {type(value).__name__} cannot be sent: {error}") from error

    def decode(self, body: bytes, content_type: str | None, type: Any, /) -> Any:
        if content_type != "application/msgpack":
            raise CodecError(f"the body is {content_type}, not MessagePack")
        try:
            return msgspec.msgpack.decode(body, type=type)
        except msgspec.DecodeError as error:
            raise CodecError(f"the body is no {type}: {error}") from error


class Item(msgspec.Struct):
    name: str
    picture: bytes


async def test_a_codec_there_and_back(url: str) -> None:
    """All that a bus sends and reads goes through its codec: publishing, results, answers, pulling and batches."""
    bus, router, seen = Bus(url, codec=MessagePack()), Router(codec=MessagePack()), Seen()

    @router.handler("items", group="g", publishes="names")
    async def take(item: Item, message: Message, context: Context) -> str:
        seen.add((item, message.content_type, msgspec.msgpack.decode(message.body)["name"]))
        assert await context.request("double", 21, reply=int) == 42
        return item.name

    @bus.handler("double", group="g")
    def double(number: int) -> int:
        return number * 2

    @bus.handler("names", group="batches", batch=Batch(1))
    async def names(names: list[str]) -> None:
        seen.add(names)

    bus.include(router)
    picture = bytes(range(256))
    async with bus.running(), bus.consumer("names", group="pull", type=str) as consumer:
        assert await bus.request("items", Item("milk", picture), reply=str) == "milk"
        (pulled,) = await consumer.pull(wait=5.0)
        assert pulled.value == "milk"
        await seen.wait(2)
        with pytest.raises(CodecError, match="a object cannot be sent"):
            await bus.publish("items", object())
        with pytest.raises(RequestFailed, match="the body is no"):
            await bus.request("items", 1.5)
    assert (Item("milk", picture), "application/msgpack", "milk") in seen
    assert ["milk"] in seen


async def test_what_a_codec_cannot_decode(url: str) -> None:
    """Whatever a codec raises while it decodes makes a dead letter, of other content types too, to a puller as well."""
    plain, bus = Bus(url), Bus(url, codec=MessagePack(), retry=Backoff(attempts=5, first=0.0))

    @bus.handler("items", group="g")
    async def take(item: Item) -> None: ...

    async with bus.running(), plain, bus.consumer("pulled", group="g", type=Item) as consumer:
        await plain.publish("items", {"name": "milk"})
        await bus.publish("items", [1, 2])
        await bus.publish("pulled", [1, 2])
        assert await consumer.pull(wait=0.0) == []
        found = await letters(bus, 3)
    assert {letter.reason for letter in found} == {"undecodable"}
    errors = sorted(letter.attempts[0].error for letter in found)
    assert errors[0] == "CodecError: the body is application/json, not MessagePack"
    assert [error.partition(" <")[0] for error in errors[1:]] == ["CodecError: the body is no"] * 2


class Broken:
    """A codec whose decode has a fault of its own."""

    def encode(self, value: object, /) -> tuple[bytes, str]:
        return b"", "application/x-broken"

    def decode(self, body: bytes, content_type: str | None, type: Any, /) -> Any:
        raise IndexError("out of range")


async def test_a_broken_codec_loses_nothing(url: str) -> None:
    """An error of the codec's own is the message's failure, not the worker's."""
    bus = Bus(url, codec=Broken())

    @bus.handler("a", group="g")
    async def take(body: Any) -> None: ...

    async with bus.running():
        await bus.publish_many("a", range(2))
        found = await letters(bus, 2)
    assert [(letter.reason, letter.attempts[0].error) for letter in found] == [
        ("undecodable", "IndexError: out of range")
    ] * 2


def test_a_codec_without_its_methods() -> None:
    """An object that is no codec is refused where it is given, not at the first message."""
    with pytest.raises(ConfigurationError, match="a codec has two methods, encode and decode"):
        Bus("memory://", codec=object())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a codec has two methods, encode and decode"):
        Router(codec=MessagePack)  # type: ignore[arg-type]
