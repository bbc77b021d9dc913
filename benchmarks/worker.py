"""The worker that most benchmarks run: one handler that counts, and waiting until all is settled."""

from __future__ import annotations

import asyncio

from benchmarks.load import BATCH, CHANNEL, GROUP, ORDERS, Order, Tally
from pabal import Bus, Outgoing
from pabal.runtime.crew import Crew
from pabal.runtime.registering import Delivered

KEYS = 1000
"""How many keys the messages of an ordered group have: ten batches of one each, and then the same again."""


def count_orders(
    bus: Bus,
    tally: Tally,
    *,
    channel: str = CHANNEL,
    concurrency: int = 1,
    ordered: bool = False,
    delivery: Delivered = "at-least-once",
) -> None:
    """Register the handler."""

    @bus.handler(channel, group=GROUP, concurrency=concurrency, ordered=ordered, delivery=delivery)
    async def note(order: Order) -> None:
        tally.note(order)


def acked(crew: Crew) -> int:
    """How many messages are handled and settled."""
    return sum(counters.acked for counters in crew.counters.values())


async def settled(crew: Crew, tally: Tally) -> None:
    """Wait until all of `tally` are handled and settled."""
    while not tally.full:  # noqa: ASYNC110 - an event would be one more thing that the handler does
        await asyncio.sleep(0.001)
    while acked(crew) < tally.total:  # noqa: ASYNC110 - counters tell nobody
        await asyncio.sleep(0.0002)


async def make_group(bus: Bus, *, channel: str = CHANNEL) -> None:
    """See to it that the group is there, with nobody who reads."""
    async with bus.consumer(channel, group=GROUP):
        pass


async def make_ordered_group(url: str) -> None:
    """See to it that an ordered group is there, with nobody who reads."""
    bus = Bus(url)
    count_orders(bus, Tally(0), ordered=True)
    async with bus.running():
        pass


async def publish_orders(bus: Bus, total: int, *, channel: str = CHANNEL) -> None:
    """Publish so many messages, a hundred at a time."""
    for _ in range(total // len(ORDERS)):
        await bus.publish_many(channel, ORDERS)


async def publish_keyed_orders(bus: Bus, total: int) -> None:
    """Publish so many messages with keys, a hundred at a time."""
    for batch in range(total // BATCH):
        first = batch * BATCH
        await bus.publish_many(
            CHANNEL, [Outgoing(order, key=f"customer-{(first + n) % KEYS}") for n, order in enumerate(ORDERS)]
        )
