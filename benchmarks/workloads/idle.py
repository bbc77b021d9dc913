"""What a worker with 10 groups costs while nothing comes."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from benchmarks.load import CHANNEL, Tally
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import alone
from benchmarks.raw import lease_some, raw_box
from benchmarks.worker import count_orders
from pabal import Bus

_GROUPS = 10
_SECONDS = 3.0
_SETTLING = 1.0


def pabal(stage: Stage) -> Figures:
    """The worker, on a file."""
    return {"pabal, 10 groups": alone(partial(_idle, stage.url()))}


def _idle(url: str) -> float:
    async def idle() -> float:
        bus = Bus(url)
        for number in range(_GROUPS):
            count_orders(bus, Tally(0), channel=f"{CHANNEL}.{number}")
        async with bus.running():
            await asyncio.sleep(_SETTLING)
            started, cpu = time.monotonic(), time.process_time()
            await asyncio.sleep(_SECONDS)
            return (time.process_time() - cpu) / (time.monotonic() - started) * 100

    return asyncio.run(idle())


def raw_loop(stage: Stage) -> Figures:
    """The raw loop, which looks at one queue every millisecond."""
    return {"raw loop, 1 queue": alone(partial(_poll, stage.folder / "raw.db"))}


def _poll(path: Path) -> float:
    with raw_box(path) as connection:
        started, cpu = time.monotonic(), time.process_time()
        while time.monotonic() - started < _SECONDS:
            lease_some(connection)
            time.sleep(0.001)
        return (time.process_time() - cpu) / (time.monotonic() - started) * 100


WORKLOAD = Workload(
    name="idle",
    title="CPU of a worker on a file while nothing comes",
    parts=(pabal, raw_loop),
    units=dict.fromkeys(("pabal, 10 groups", "raw loop, 1 queue"), "% of a core"),
    targets=(
        Target("a worker with 10 groups", lambda figures: figures["pabal, 10 groups"], at_most=3, unit="% of a core"),
    ),
)
