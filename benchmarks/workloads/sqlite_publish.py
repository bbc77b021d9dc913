"""Awaited publishes into a file, each safe from a loss of power: one publisher, 64 at once, 8 processes."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from benchmarks.load import CHANNEL, ORDERS
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import Ready, alone, together
from benchmarks.raw import insert_one, raw_box
from benchmarks.worker import make_group
from pabal import Bus

_SECONDS = 1.5
_AT_ONCE = 64
_PROCESSES = 8


def raw_loop(stage: Stage) -> Figures:
    """One raw insert and commit after the other, on disk each."""
    return {"raw insert and commit": alone(partial(_raw, stage.folder / "raw.db", _SECONDS * stage.size))}


def _raw(path: Path, seconds: float, ready: Ready = lambda: None) -> float:
    with raw_box(path, synchronous="FULL") as connection:
        insert_one(connection)
        ready()
        count, started = 0, time.monotonic()
        while (took := time.monotonic() - started) < seconds:
            insert_one(connection)
            count += 1
        return count / took


def one_publisher(stage: Stage) -> Figures:
    """One awaited publish after the other."""
    url = stage.url()
    alone(partial(_prepare, url))
    return {"one publisher": alone(partial(_publish, url, 1, _SECONDS * stage.size))}


def publishers_at_once(stage: Stage) -> Figures:
    """64 publishers at once in one process, each awaiting its own publishes."""
    url = stage.url()
    alone(partial(_prepare, url))
    return {f"{_AT_ONCE} publishers": alone(partial(_publish, url, _AT_ONCE, _SECONDS * stage.size))}


def processes_at_once(stage: Stage) -> Figures:
    """8 processes with one publisher each on one file."""
    url = stage.url()
    alone(partial(_prepare, url))
    seconds = 2 * _SECONDS * stage.size
    rates = together(*[partial(_publish_with_others, url, seconds)] * _PROCESSES)
    return {f"{_PROCESSES} processes": sum(rates), "fastest process": max(rates), "slowest process": min(rates)}


def raw_processes_at_once(stage: Stage) -> Figures:
    """8 processes of the raw loop on one file, in whatever order SQLite's own waiting gives them."""
    path = stage.folder / "raw.db"
    alone(partial(_raw, path, 0.0))
    rates = together(*[partial(_raw, path, 2 * _SECONDS * stage.size)] * _PROCESSES)
    return {
        f"raw, {_PROCESSES} processes": sum(rates),
        "raw, fastest process": max(rates),
        "raw, slowest process": min(rates),
    }


def _prepare(url: str) -> None:
    async def prepare() -> None:
        async with Bus(url) as bus:
            await make_group(bus)

    asyncio.run(prepare())


def _publish_with_others(url: str, seconds: float, ready: Ready) -> float:
    return _publish(url, 1, seconds, ready)


def _publish(url: str, publishers: int, seconds: float, ready: Ready = lambda: None) -> float:
    async def publish(bus: Bus, ends: float) -> int:
        count = 0
        while time.monotonic() < ends:
            await bus.publish(CHANNEL, ORDERS[count % len(ORDERS)])
            count += 1
        return count

    async def publish_all() -> float:
        async with Bus(url) as bus:
            await bus.publish(CHANNEL, ORDERS[0])
            ready()
            started = time.monotonic()
            counts = await asyncio.gather(*[publish(bus, started + seconds) for _ in range(publishers)])
            return sum(counts) / (time.monotonic() - started)

    return asyncio.run(publish_all())


WORKLOAD = Workload(
    name="sqlite-publish",
    title="Awaited publishes into a file, each safe from a loss of power",
    parts=(raw_loop, one_publisher, publishers_at_once, processes_at_once, raw_processes_at_once),
    units=dict.fromkeys(
        (
            "raw insert and commit",
            "one publisher",
            f"{_AT_ONCE} publishers",
            f"{_PROCESSES} processes",
            "fastest process",
            "slowest process",
            f"raw, {_PROCESSES} processes",
            "raw, fastest process",
            "raw, slowest process",
        ),
        "messages/s",
    ),
    targets=(
        Target(
            "one publisher over raw insert and commit",
            lambda figures: figures["one publisher"] / figures["raw insert and commit"],
            at_least=0.7,
        ),
        Target(
            f"{_AT_ONCE} publishers at once over one",
            lambda figures: figures[f"{_AT_ONCE} publishers"] / figures["one publisher"],
            at_least=8,
        ),
        Target(
            f"the fastest of {_PROCESSES} processes over the slowest",
            lambda figures: figures["fastest process"] / figures["slowest process"],
            at_most=3,
        ),
        Target(
            f"{_PROCESSES} processes together over one",
            lambda figures: figures[f"{_PROCESSES} processes"] / figures["one publisher"],
            at_least=1,
        ),
    ),
)
