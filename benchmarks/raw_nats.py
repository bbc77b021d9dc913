"""What a careful person writes on nats-py, without retries or dead letters, and with no word of who took a message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import nats

from benchmarks.events import HEADERS
from benchmarks.flow import Flow, Used, Watch
from benchmarks.load import BATCH, CHANNEL, GROUP, ORDERS, Order, decode_order, encode_order
from benchmarks.process import Ready

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_STREAM = "bench"


async def publish(url: str, flow: Flow, ready: Ready) -> Used:
    """A hundred publishes, and then a flush, which waits for the server."""
    async with await nats.connect(url) as client:
        ready()
        watch = Watch()
        for published in range(BATCH, flow.messages + 1, BATCH):
            for order in ORDERS:
                await client.publish(CHANNEL, encode_order(order), headers=HEADERS)
            await client.flush()
            await flow.room(published)
        return watch.stop()


async def publish_each(url: str, flow: Flow, ready: Ready) -> Used:
    """A flush after every publish."""
    async with await nats.connect(url) as client:
        ready()
        watch = Watch()
        for _ in range(flow.messages // BATCH):
            for order in ORDERS:
                await client.publish(CHANNEL, encode_order(order), headers=HEADERS)
                await client.flush()
        return watch.stop()


async def listen(url: str, flow: Flow, ready: Ready, *, listeners: int = 1) -> Used:
    """So many subscriptions of one connection."""

    async def note(order: Order) -> None:
        flow.note(order)

    async def take(received: Msg) -> None:
        await note(decode_order(received.data))

    async with await nats.connect(url) as client:
        for _ in range(listeners):
            await client.subscribe(CHANNEL, cb=take)
        await client.flush()
        ready()
        watch = Watch()
        await flow.finished()
        return watch.stop()


async def store(url: str, flow: Flow, ready: Ready) -> Used:
    """A hundred publishes to a stream, and then all their acknowledgements."""
    async with await nats.connect(url) as client:
        stream = client.jetstream()
        await stream.add_stream(name=_STREAM, subjects=[CHANNEL])
        ready()
        watch = Watch()
        for published in range(0, flow.messages, BATCH):
            stored = []
            for number, order in enumerate(ORDERS, published):
                headers = {**HEADERS, "Nats-Msg-Id": f"{number:036}"}
                stored.append(await stream.publish_async(CHANNEL, encode_order(order), headers=headers))
            await asyncio.gather(*stored)
        return watch.stop()


async def fetch(url: str, flow: Flow, ready: Ready) -> Used:
    """A hundred fetched at a time, each acknowledged by itself."""

    async def note(order: Order) -> None:
        flow.note(order)

    async with await nats.connect(url) as client:
        reading = await client.jetstream().pull_subscribe(CHANNEL, durable=GROUP, stream=_STREAM)
        ready()
        while not flow.full:
            for received in await reading.fetch(BATCH):
                await note(decode_order(received.data))
                await received.ack()
        await client.flush()
        return flow.watch.stop()


async def push(url: str, flow: Flow, ready: Ready) -> Used:
    """A push consumer, each message acknowledged by itself."""

    async def note(order: Order) -> None:
        flow.note(order)

    async def take(received: Msg) -> None:
        await note(decode_order(received.data))
        await received.ack()

    async with await nats.connect(url) as client:
        ready()
        await client.jetstream().subscribe(CHANNEL, durable="push", stream=_STREAM, cb=take, manual_ack=True)
        await flow.finished()
        await client.flush()
        return flow.watch.stop()
