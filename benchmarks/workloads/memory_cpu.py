"""The CPU of a worker on ``memory://`` above decoding and calling the handler, which any loop has to do.

Publishing there never waits, so that its CPU is known and taken off; bursts of a thousand messages are published
and then handled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial

from benchmarks.load import ORDERS, Order, Tally, decode_order, encode_order
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import alone
from benchmarks.worker import count_orders, publish_orders, settled
from pabal import Bus

_TOTAL = 100_000
_BURST = 1_000


def decode_and_call(stage: Stage) -> Figures:
    """Decoding and awaiting the handler, in a loop."""
    return {"decode and call": alone(partial(_least, stage.count(_TOTAL)))}


def _least(total: int) -> float:
    tally = Tally(total)

    async def note(order: Order) -> None:
        tally.note(order)

    async def handle() -> float:
        bodies = [encode_order(order) for order in ORDERS]
        cpu = time.process_time()
        for _ in range(total // len(bodies)):
            waiting = deque(bodies)
            while waiting:
                await note(decode_order(waiting.popleft()))
        return time.process_time() - cpu

    asyncio.run(handle())
    return asyncio.run(handle()) / total * 1e6


def pabal(stage: Stage) -> Figures:
    """The worker, one message at a time."""
    return {"pabal": alone(partial(_worker, stage.count(_TOTAL), 1))}


def pabal_at_32(stage: Stage) -> Figures:
    """The worker, 32 messages at once."""
    return {"pabal, concurrency 32": alone(partial(_worker, stage.count(_TOTAL), 32))}


def _worker(total: int, concurrency: int) -> float:
    async def handle(total: int) -> float:
        bus, tally = Bus("memory://"), Tally(0)
        count_orders(bus, tally, concurrency=concurrency)
        async with bus.running() as crew:
            started, publishing = time.process_time(), 0.0
            while tally.total < total:
                tally.total += _BURST
                before = time.process_time()
                await publish_orders(bus, _BURST)
                publishing += time.process_time() - before
                await settled(crew, tally)
            return time.process_time() - started - publishing

    asyncio.run(handle(2 * _BURST))
    return asyncio.run(handle(total)) / total * 1e6


WORKLOAD = Workload(
    name="memory-cpu",
    title="CPU of a worker in memory, for each message",
    parts=(decode_and_call, pabal, pabal_at_32),
    units=dict.fromkeys(("decode and call", "pabal", "pabal, concurrency 32"), "µs a message"),
    targets=(
        Target(
            "above decoding and calling the handler",
            lambda figures: figures["pabal"] - figures["decode and call"],
            at_most=5,
            unit="µs",
        ),
        Target(
            "above decoding and calling the handler, concurrency 32",
            lambda figures: figures["pabal, concurrency 32"] - figures["decode and call"],
            at_most=8,
            unit="µs",
        ),
    ),
)
