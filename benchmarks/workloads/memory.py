"""``memory://``, publish to settled, against an asyncio.Queue and against taskiq's broker in memory.

Every publisher lets the others run after each hundred messages, and waits while a thousand are on their way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from benchmarks.load import CHANNEL, DICTS, ORDERS, Order, Tally, decode_order, encode_order
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import alone
from benchmarks.worker import count_orders, settled
from pabal import Bus

Way = Callable[[int], Coroutine[Any, Any, float]]
"""Sends and handles so many messages; returns the seconds it took."""

_WARM = 2_000
_ON_THEIR_WAY = 1_000


def _rate(way: Way, total: int) -> float:
    asyncio.run(way(_WARM))
    return total / asyncio.run(way(total))


async def _pause(published: int, tally: Tally) -> None:
    await asyncio.sleep(0)
    while published - tally.count >= _ON_THEIR_WAY:  # noqa: ASYNC110 - an event would be one more thing to do
        await asyncio.sleep(0)


def asyncio_queue(stage: Stage) -> Figures:
    """An asyncio.Queue of bodies, encoded and decoded by msgspec."""
    return {"asyncio.Queue": alone(partial(_rate, _queue, stage.count(200_000)))}


async def _queue(total: int) -> float:
    tally = Tally(total)
    queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def note(order: Order) -> None:
        tally.note(order)

    async def handle() -> None:
        while True:
            body = await queue.get()
            await note(decode_order(body))
            queue.task_done()

    async with asyncio.TaskGroup() as tasks:
        handling = tasks.create_task(handle())
        started = time.perf_counter()
        for published in range(len(ORDERS), total + 1, len(ORDERS)):
            for order in ORDERS:
                await queue.put(encode_order(order))
            await _pause(published, tally)
        await queue.join()
        took = time.perf_counter() - started
        handling.cancel()
    return took


def pabal_many(stage: Stage) -> Figures:
    """publish_many of 100."""
    return {"pabal, publish_many": alone(partial(_rate, _many, stage.count(100_000)))}


async def _many(total: int) -> float:
    tally = Tally(total)
    bus = Bus("memory://")
    count_orders(bus, tally)
    async with bus.running() as crew:
        started = time.perf_counter()
        for published in range(len(ORDERS), total + 1, len(ORDERS)):
            await bus.publish_many(CHANNEL, ORDERS)
            await _pause(published, tally)
        await settled(crew, tally)
        return time.perf_counter() - started


def pabal_single(stage: Stage) -> Figures:
    """One awaited publish for each message."""
    return {"pabal, publish": alone(partial(_rate, _single, stage.count(100_000)))}


async def _single(total: int) -> float:
    tally = Tally(total)
    bus = Bus("memory://")
    count_orders(bus, tally)
    async with bus.running() as crew:
        started = time.perf_counter()
        for published in range(len(ORDERS), total + 1, len(ORDERS)):
            for order in ORDERS:
                await bus.publish(CHANNEL, order)
            await _pause(published, tally)
        await settled(crew, tally)
        return time.perf_counter() - started


def taskiq_single(stage: Stage) -> Figures:
    """One awaited kiq for each message."""
    return {"taskiq, kiq": alone(partial(_rate, _taskiq, stage.count(10_000)))}


async def _taskiq(total: int) -> float:
    from taskiq import InMemoryBroker

    tally = Tally(total)
    broker = InMemoryBroker()

    @broker.task(task_name="note")
    async def note(order: dict[str, Any]) -> None:
        tally.note(msgspec.convert(order, Order))

    await broker.startup()
    started = time.perf_counter()
    for published in range(len(DICTS), total + 1, len(DICTS)):
        for order in DICTS:
            await note.kiq(order)
        await _pause(published, tally)
    await broker.wait_all()
    took = time.perf_counter() - started
    assert tally.full, f"taskiq handled {tally.count} of {total} messages"
    await broker.shutdown()
    return took


WORKLOAD = Workload(
    name="memory",
    title="Messages in memory, from publish to settled",
    parts=(asyncio_queue, pabal_many, pabal_single, taskiq_single),
    units={
        "asyncio.Queue": "messages/s",
        "pabal, publish_many": "messages/s",
        "pabal, publish": "messages/s",
        "taskiq, kiq": "messages/s",
    },
    targets=(
        Target(
            "publish_many of 100, over asyncio.Queue and msgspec",
            lambda figures: figures["pabal, publish_many"] / figures["asyncio.Queue"],
            at_least=0.4,
        ),
        Target(
            "awaited publishes, over asyncio.Queue and msgspec",
            lambda figures: figures["pabal, publish"] / figures["asyncio.Queue"],
            at_least=0.2,
        ),
        Target(
            "publish_many of 100, over taskiq's kiq, which knows no batch",
            lambda figures: figures["pabal, publish_many"] / figures["taskiq, kiq"],
            at_least=8,
        ),
    ),
)
