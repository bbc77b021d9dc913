"""A backlog in a file, drained by one worker: its rate and its CPU, against the raw loop."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from benchmarks.load import Tally
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import alone
from benchmarks.raw import handle_orders, insert_orders, raw_box
from benchmarks.worker import (
    count_orders,
    make_group,
    make_ordered_group,
    publish_keyed_orders,
    publish_orders,
    settled,
)
from pabal import Bus

_TOTAL = 40_000


def raw_loop(stage: Stage) -> Figures:
    """The raw loop."""
    total = stage.count(_TOTAL)
    seconds, cpu = alone(partial(_raw, stage.folder / "raw.db", total))
    return {"raw loop": total / seconds, "CPU, raw loop": cpu / total * 1e6}


def _raw(path: Path, total: int) -> tuple[float, float]:
    with raw_box(path) as connection:
        insert_orders(connection, total)
        started, cpu = time.perf_counter(), time.process_time()
        handle_orders(connection, Tally(total))
        return time.perf_counter() - started, time.process_time() - cpu


def pabal(stage: Stage) -> Figures:
    """pabal, one message at a time."""
    total = stage.count(_TOTAL)
    seconds, cpu = alone(partial(_drain, stage.url(), total, 1))
    return {"pabal": total / seconds, "CPU, pabal": cpu / total * 1e6}


def pabal_at_32(stage: Stage) -> Figures:
    """pabal, 32 messages at once."""
    total = stage.count(_TOTAL)
    seconds, cpu = alone(partial(_drain, stage.url(), total, 32))
    return {"pabal, concurrency 32": total / seconds, "CPU, pabal, concurrency 32": cpu / total * 1e6}


def pabal_in_order(stage: Stage) -> Figures:
    """pabal, an ordered group with a thousand keys."""
    total = stage.count(_TOTAL)
    seconds, cpu = alone(partial(_drain, stage.url(), total, 1, ordered=True))
    return {"pabal, ordered": total / seconds, "CPU, pabal, ordered": cpu / total * 1e6}


def _drain(url: str, total: int, concurrency: int, *, ordered: bool = False) -> tuple[float, float]:
    async def drain() -> tuple[float, float]:
        if ordered:
            await make_ordered_group(url)
        async with Bus(url) as bus:
            if ordered:
                await publish_keyed_orders(bus, total)
            else:
                await make_group(bus)
                await publish_orders(bus, total)
        bus, tally = Bus(url), Tally(total)
        count_orders(bus, tally, concurrency=concurrency, ordered=ordered)
        async with bus:
            started, cpu = time.perf_counter(), time.process_time()
            async with bus.running() as crew:
                await settled(crew, tally)
                return time.perf_counter() - started, time.process_time() - cpu

    return asyncio.run(drain())


WORKLOAD = Workload(
    name="sqlite-drain",
    title="A backlog in a file, drained by one worker",
    parts=(raw_loop, pabal, pabal_at_32, pabal_in_order),
    units={
        "raw loop": "messages/s",
        "pabal": "messages/s",
        "pabal, concurrency 32": "messages/s",
        "pabal, ordered": "messages/s",
        "CPU, raw loop": "µs a message",
        "CPU, pabal": "µs a message",
        "CPU, pabal, concurrency 32": "µs a message",
        "CPU, pabal, ordered": "µs a message",
    },
    targets=(
        Target("pabal over the raw loop", lambda figures: figures["pabal"] / figures["raw loop"], at_least=0.5),
        Target(
            "pabal in order over the raw loop",
            lambda figures: figures["pabal, ordered"] / figures["raw loop"],
            at_least=0.5,
        ),
        Target(
            "CPU of the worker above the raw loop's own",
            lambda figures: figures["CPU, pabal"] - figures["CPU, raw loop"],
            at_most=5,
            unit="µs",
        ),
        Target(
            "CPU of the worker above the raw loop's own, concurrency 32",
            lambda figures: figures["CPU, pabal, concurrency 32"] - figures["CPU, raw loop"],
            at_most=8,
            unit="µs",
        ),
    ),
)
