"""Requests and their answers as a careful person writes them: one reader of answers, a future for each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import nats
from redis.asyncio import Redis

from benchmarks.events import ANSWER_TO, HEADERS, answer, request
from benchmarks.load import CHANNEL, Order, decode_order, encode_order
from benchmarks.process import Ready
from pabal.model.message import new_id

if TYPE_CHECKING:
    from nats.aio.msg import Msg

Ask = Callable[[Order], Awaitable[int]]
"""Sends an order and returns its number, as the other side read it."""

_decode_number = msgspec.json.Decoder(int).decode
_TIMEOUT = 10.0


class _Asked(msgspec.Struct):
    id: str
    replyto: str
    data: Order


class _Answered(msgspec.Struct):
    correlationid: str
    data: int


_decode_asked = msgspec.json.Decoder(_Asked).decode
_decode_answered = msgspec.json.Decoder(_Answered).decode


async def _number(order: Order) -> int:
    return order.id


@asynccontextmanager
async def ask_nats(url: str) -> AsyncIterator[Ask]:
    """The client's own request."""
    async with await nats.connect(url) as client:

        async def ask(order: Order) -> int:
            answered = await client.request(CHANNEL, encode_order(order), timeout=_TIMEOUT, headers=HEADERS)
            return _decode_number(answered.data)

        yield ask


async def answer_nats(url: str, ready: Ready) -> None:
    """Answers by publishing on the request's reply subject."""
    async with await nats.connect(url) as client:

        async def take(received: Msg) -> None:
            number = await _number(decode_order(received.data))
            await client.publish(received.reply, encode_order(number), headers=HEADERS)

        await client.subscribe(CHANNEL, cb=take)
        await client.flush()
        ready()
        await asyncio.to_thread(ready)


@asynccontextmanager
async def ask_redis(url: str) -> AsyncIterator[Ask]:
    """PUBLISH; the answers come to one channel."""
    waiting: dict[str, asyncio.Future[int]] = {}
    async with Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as answers:
        await answers.subscribe(ANSWER_TO)
        await answers.get_message(timeout=_TIMEOUT)

        async def read() -> None:
            async for received in answers.listen():
                answered = _decode_answered(received["data"])
                waiting.pop(answered.correlationid).set_result(answered.data)

        async def ask(order: Order) -> int:
            id = new_id()
            answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            waiting[id] = answered
            publishing: Any = client.publish(CHANNEL, request(id, encode_order(order)))
            await publishing
            async with asyncio.timeout(_TIMEOUT):
                return await answered

        reading = asyncio.create_task(read())
        yield ask
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


async def answer_redis(url: str, ready: Ready) -> None:
    """Answers by PUBLISH, one after the other."""
    async with Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as requests:
        await requests.subscribe(CHANNEL)
        await requests.get_message(timeout=_TIMEOUT)
        ready()

        async def read() -> None:
            async for received in requests.listen():
                asked = _decode_asked(received["data"])
                number = await _number(asked.data)
                publishing: Any = client.publish(asked.replyto, answer(asked.id, encode_order(number)))
                await publishing

        reading = asyncio.create_task(read())
        await asyncio.to_thread(ready)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
