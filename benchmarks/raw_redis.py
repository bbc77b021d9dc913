"""What a careful person writes on redis-py, without groups on Pub/Sub, retries or dead letters.

All of it runs on one event loop, as pabal does. A hundred publishes go to the server in one pipeline.
"""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis

from benchmarks.events import ATTRIBUTES, structured
from benchmarks.flow import Flow, Used, Watch
from benchmarks.load import BATCH, CHANNEL, GROUP, ORDERS, Order, decode_order, encode_order
from benchmarks.process import Ready


class _Event(msgspec.Struct):
    """A whole event, of which only the body is wanted."""

    data: Order


_decode_event = msgspec.json.Decoder(_Event).decode


async def add(url: str, flow: Flow, ready: Ready) -> Used:
    """XADD, a hundred in one pipeline."""
    async with Redis.from_url(url) as client:
        await client.ping()
        ready()
        watch = Watch()
        for _ in range(flow.messages // BATCH):
            pipeline: Any = client.pipeline(transaction=False)
            for order in ORDERS:
                pipeline.xadd(CHANNEL, {b"ce": ATTRIBUTES, b"data": encode_order(order)})
            await pipeline.execute()
        return watch.stop()


async def read_group(url: str, flow: Flow, ready: Ready) -> Used:
    """XREADGROUP of a hundred, and one XACK for them."""

    async def note(order: Order) -> None:
        flow.note(order)

    async with Redis.from_url(url) as client:
        await client.xgroup_create(CHANNEL, GROUP, id="0", mkstream=True)
        ready()
        while not flow.full:
            read: Any = await client.xreadgroup(GROUP, "raw", {CHANNEL: ">"}, count=BATCH, block=1000)
            for _, entries in read:
                for _, fields in entries:
                    await note(decode_order(fields[b"data"]))
                await client.xack(CHANNEL, GROUP, *[id for id, _ in entries])
        return flow.watch.stop()


async def publish(url: str, flow: Flow, ready: Ready) -> Used:
    """PUBLISH, a hundred in one pipeline."""
    async with Redis.from_url(url) as client:
        await client.ping()
        ready()
        watch = Watch()
        for published in range(BATCH, flow.messages + 1, BATCH):
            pipeline: Any = client.pipeline(transaction=False)
            for order in ORDERS:
                pipeline.publish(CHANNEL, structured(encode_order(order)))
            await pipeline.execute()
            await flow.room(published)
        return watch.stop()


async def listen(url: str, flow: Flow, ready: Ready) -> Used:
    """SUBSCRIBE, and what comes one after the other."""

    async def note(order: Order) -> None:
        flow.note(order)

    async with Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(CHANNEL)
        await pubsub.get_message(timeout=5.0)
        ready()
        watch = Watch()
        async for received in pubsub.listen():
            await note(_decode_event(received["data"]).data)
            if flow.full:
                break
        return watch.stop()
