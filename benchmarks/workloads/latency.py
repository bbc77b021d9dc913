"""From publish to handler between two processes, at 500 messages a second.

Each publish begins at its own time and waits for no other, so that a slow one hides nothing of those behind it.
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from statistics import quantiles

import msgspec

from benchmarks.load import BATCH, CHANNEL, DICTS, GROUP, ORDERS, Order
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import Ready, together
from benchmarks.raw import lease_some, make_raw_box, raw_box
from pabal import Bus

_RATE = 500
_TOTAL = 1_500


def pabal(stage: Stage) -> Figures:
    """pabal, every publish safe from a loss of power."""
    total, url = stage.count(_TOTAL), stage.url()
    _, waits = together(partial(_publish, url, total), partial(_work, url, total))
    return _percentiles("pabal", waits)


def raw_loop(stage: Stage) -> Figures:
    """The raw loop, which looks every millisecond, and every commit is on disk."""
    total, path = stage.count(_TOTAL), make_raw_box(stage.folder / "raw.db")
    _, waits = together(partial(_insert, path, total), partial(_handle, path, total))
    return _percentiles("raw loop", waits)


def _percentiles(name: str, waits: list[float]) -> Figures:
    percentiles = quantiles(waits, n=100)
    return {f"{name}, p50": percentiles[49] * 1e3, f"{name}, p99": percentiles[98] * 1e3}


def _publish(url: str, total: int, ready: Ready) -> list[float]:
    async def publish() -> list[float]:
        async with Bus(url) as bus, asyncio.TaskGroup() as tasks:
            ready()
            begin = time.monotonic()
            for number in range(total):
                await asyncio.sleep(begin + number / _RATE - time.monotonic())
                order = msgspec.structs.replace(ORDERS[number % BATCH], placed=time.monotonic())
                tasks.create_task(bus.publish(CHANNEL, order))
        return []

    return asyncio.run(publish())


def _work(url: str, total: int, ready: Ready) -> list[float]:
    waits: list[float] = []

    async def work() -> None:
        bus, done = Bus(url), asyncio.Event()

        @bus.handler(CHANNEL, group=GROUP)
        async def note(order: Order) -> None:
            waits.append(time.monotonic() - order.placed)
            if len(waits) == total:
                done.set()

        async with bus.running():
            ready()
            await done.wait()

    asyncio.run(work())
    return waits


def _insert(path: Path, total: int, ready: Ready) -> list[float]:
    with raw_box(path, synchronous="FULL") as connection:
        ready()
        begin = time.monotonic()
        for number in range(total):
            time.sleep(max(0.0, begin + number / _RATE - time.monotonic()))
            body = json.dumps({**DICTS[number % BATCH], "placed": time.monotonic()})
            connection.execute("INSERT INTO message (body) VALUES (?)", (body,))
    return []


def _handle(path: Path, total: int, ready: Ready) -> list[float]:
    waits: list[float] = []
    with raw_box(path) as connection:
        ready()
        while len(waits) < total:
            leased = lease_some(connection)
            for _, body in leased:
                waits.append(time.monotonic() - json.loads(body)["placed"])
            connection.executemany("DELETE FROM message WHERE id = ?", [(id,) for id, _ in leased])
            if not leased:
                time.sleep(0.001)
    return waits


WORKLOAD = Workload(
    name="latency",
    title="From publish to handler between two processes, 500 messages a second",
    parts=(pabal, raw_loop),
    units=dict.fromkeys(("pabal, p50", "pabal, p99", "raw loop, p50", "raw loop, p99"), "ms"),
    targets=(
        Target("half of the messages within", lambda figures: figures["pabal, p50"], at_most=3, unit="ms"),
        Target("99 of 100 messages within", lambda figures: figures["pabal, p99"], at_most=15, unit="ms"),
    ),
)
