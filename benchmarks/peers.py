"""FastStream as it comes, but that it logs nothing and reads JSON by msgspec, as all others here do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.flow import Flow, Used, Watch
from benchmarks.load import BATCH, CHANNEL, GROUP, ORDERS, Order
from benchmarks.process import Ready

if TYPE_CHECKING:  # it takes a second to import, which others need not wait
    from faststream.nats import NatsBroker
    from faststream.redis import RedisBroker


def _redis(url: str) -> RedisBroker:
    from faststream.redis import RedisBroker

    return RedisBroker(url, **_quiet())


def _nats(url: str) -> NatsBroker:
    from faststream.nats import NatsBroker

    return NatsBroker(url, **_quiet())


def _quiet() -> dict[str, Any]:
    from fast_depends.msgspec import MsgSpecSerializer

    return {"logger": None, "serializer": MsgSpecSerializer()}


async def redis_stream_publish(url: str, flow: Flow, ready: Ready) -> Used:
    """An awaited publish to a stream for each message."""
    async with _redis(url) as broker:
        ready()
        watch = Watch()
        for _ in range(flow.messages // BATCH):
            for order in ORDERS:
                await broker.publish(order, stream=CHANNEL)
        return watch.stop()


async def redis_stream_drain(url: str, flow: Flow, ready: Ready) -> Used:
    """A handler of single messages, of which the group reads a hundred at a time."""
    from faststream.redis import StreamSub
    from redis.asyncio import Redis

    broker = _redis(url)

    @broker.subscriber(stream=StreamSub(CHANNEL, group=GROUP, consumer="peer", max_records=BATCH, last_id=">"))
    async def note(order: Order) -> None:
        flow.note(order)

    async with Redis.from_url(url) as client:  # it would make a group that begins at now
        await client.xgroup_create(CHANNEL, GROUP, id="0")
    ready()
    await broker.start()
    await flow.finished()
    used = flow.watch.stop()
    await broker.stop()
    return used


async def redis_publish(url: str, flow: Flow, ready: Ready) -> Used:
    """An awaited publish for each message."""
    async with _redis(url) as broker:
        ready()
        watch = Watch()
        for published in range(BATCH, flow.messages + 1, BATCH):
            for order in ORDERS:
                await broker.publish(order, CHANNEL)
            await flow.room(published)
        return watch.stop()


async def redis_handle(url: str, flow: Flow, ready: Ready) -> Used:
    """A handler of what is published."""
    broker = _redis(url)

    @broker.subscriber(CHANNEL)
    async def note(order: Order) -> None:
        flow.note(order)

    await broker.start()
    ready()
    watch = Watch()
    await flow.finished()
    used = watch.stop()
    await broker.stop()
    return used


async def nats_publish(url: str, flow: Flow, ready: Ready) -> Used:
    """An awaited publish for each message; it waits for no server."""
    async with _nats(url) as broker:
        ready()
        watch = Watch()
        for published in range(BATCH, flow.messages + 1, BATCH):
            for order in ORDERS:
                await broker.publish(order, CHANNEL)
            await flow.room(published)
        return watch.stop()


async def nats_handle(url: str, flow: Flow, ready: Ready) -> Used:
    """A handler in a queue group."""
    broker = _nats(url)

    @broker.subscriber(CHANNEL, queue=GROUP)
    async def note(order: Order) -> None:
        flow.note(order)

    await broker.start()
    ready()
    watch = Watch()
    await flow.finished()
    used = watch.stop()
    await broker.stop()
    return used
