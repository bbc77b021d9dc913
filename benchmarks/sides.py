"""pabal on a server: what publishes, and what handles; `dead` is a box for what the transport cannot keep."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from benchmarks.flow import Flow, Used, Watch
from benchmarks.load import BATCH, CHANNEL, ORDERS, Order
from benchmarks.process import Ready
from benchmarks.worker import acked, count_orders
from pabal import Bus
from pabal.runtime.crew import Crew


async def publish_many(url: str, flow: Flow, ready: Ready, *, dead: str | None = None) -> Used:
    """publish_many of 100."""
    async with Bus(url, dead_letters=dead) as bus:
        ready()
        watch = Watch()
        for published in range(BATCH, flow.messages + 1, BATCH):
            await bus.publish_many(CHANNEL, ORDERS)
            await flow.room(published)
        return watch.stop()


async def publish(url: str, flow: Flow, ready: Ready, *, dead: str | None = None) -> Used:
    """One awaited publish for each message."""
    async with Bus(url, dead_letters=dead) as bus:
        ready()
        watch = Watch()
        for _ in range(flow.messages // BATCH):
            for order in ORDERS:
                await bus.publish(CHANNEL, order)
        return watch.stop()


async def handle(url: str, flow: Flow, ready: Ready, *, dead: str | None = None, members: int = 1) -> Used:
    """So many members of one group."""
    async with AsyncExitStack() as running:
        crews = []
        for _ in range(members):
            bus = Bus(url, dead_letters=dead)
            count_orders(bus, flow, delivery="at-most-once")
            crews.append(await running.enter_async_context(bus.running()))
        ready()
        watch = Watch()
        await _settled(flow, crews)
        return watch.stop()


async def listen(url: str, flow: Flow, ready: Ready, *, dead: str | None = None, listeners: int = 1) -> Used:
    """So many listeners in one process, on one connection."""
    bus = Bus(url, dead_letters=dead)
    for _ in range(listeners):

        @bus.listen(CHANNEL)
        async def note(order: Order) -> None:
            flow.note(order)

    async with bus.running() as crew:
        ready()
        watch = Watch()
        await _settled(flow, [crew])
        return watch.stop()


async def drain(url: str, flow: Flow, ready: Ready) -> Used:
    """One worker that finds all there."""
    bus = Bus(url)
    count_orders(bus, flow)
    ready()
    async with bus.running() as crew:
        await _settled(flow, [crew])
        return flow.watch.stop()


async def _settled(flow: Flow, crews: Sequence[Crew]) -> None:
    await flow.finished()
    while sum(map(acked, crews)) < flow.total:  # noqa: ASYNC110 - counters tell nobody
        await asyncio.sleep(0.0002)
