"""What a large backlog costs: a million waiting messages against ten thousand, and beside a dead group's million.

Each part handles ten thousand messages; the one with a million goes on, to see whether its memory stays flat.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.load import CHANNEL, Tally
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import alone
from benchmarks.worker import acked, count_orders, make_group, publish_orders
from pabal import Bus

_MILLION = 1_000_000
_FEW = 10_000
_LONG = 100_000
_DEAD = f"{CHANNEL}.dead"


def ten_thousand(stage: Stage) -> Figures:
    """Ten thousand messages wait."""
    return {"10,000 waiting": _rate(stage.url(), stage.count(_FEW))}


def a_million(stage: Stage) -> Figures:
    """A million messages wait; as many as are handled are put back."""
    url, long = _home(stage, "million"), stage.count(_LONG)
    if not _file(url).exists():
        alone(partial(_fill, url, stage.count(_MILLION)))
    rate = _rate(url, stage.count(_FEW))
    alone(partial(_fill, url, long))
    _, early, most = alone(partial(_handle, url, long))
    return {"1,000,000 waiting": rate, "memory of the worker": most, "its growth": most - early}


def beside_a_dead_group(stage: Stage) -> Figures:
    """Ten thousand messages wait, and another group of the same file has a million that nobody handles."""
    url = _home(stage, "beside")
    if not _file(url).exists():
        alone(partial(_fill, url, stage.count(_MILLION), _DEAD))
    return {"10,000 beside a dead group's million": _rate(url, stage.count(_FEW))}


def _rate(url: str, total: int) -> float:
    """The rate at which `total` new messages are handled, or as many that waited longer: the median of three."""
    rates = []
    for _ in range(3):
        alone(partial(_fill, url, total))
        rate, _, _ = alone(partial(_handle, url, total))
        rates.append(rate)
    return median(rates)


def _home(stage: Stage, name: str) -> str:
    return f"sqlite:///{stage.home / name}.db"


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _fill(url: str, total: int, channel: str = CHANNEL) -> None:
    async def fill() -> None:
        async with Bus(f"{url}?synchronous=normal") as bus:
            await make_group(bus, channel=channel)
            await publish_orders(bus, total, channel=channel)

    asyncio.run(fill())


def _handle(url: str, total: int) -> tuple[float, float, float]:
    """Handle `total` messages; returns the rate, the most memory in MB after a tenth of them, and at the end."""

    async def handle() -> tuple[float, float, float]:
        bus, tally, early = Bus(url), Tally(total), 0.0
        count_orders(bus, tally)
        async with bus:
            started = time.perf_counter()
            async with bus.running() as crew:
                while (done := acked(crew)) < total:
                    if not early and done >= total / 10:
                        early = _most_memory()
                    await asyncio.sleep(0.0005)
                return done / (time.perf_counter() - started), early or _most_memory(), _most_memory()

    return asyncio.run(handle())


def _most_memory() -> float:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


WORKLOAD = Workload(
    name="large-backlog",
    title="Draining a file in which much waits",
    parts=(ten_thousand, a_million, beside_a_dead_group),
    units={
        "10,000 waiting": "messages/s",
        "1,000,000 waiting": "messages/s",
        "10,000 beside a dead group's million": "messages/s",
        "memory of the worker": "MB",
        "its growth": "MB",
    },
    targets=(
        Target(
            "a million waiting over ten thousand",
            lambda figures: figures["1,000,000 waiting"] / figures["10,000 waiting"],
            at_least=0.8,
        ),
        Target(
            "beside a dead group's million over alone",
            lambda figures: figures["10,000 beside a dead group's million"] / figures["10,000 waiting"],
            at_least=0.8,
        ),
        Target("memory of the worker", lambda figures: figures["memory of the worker"], at_most=150, unit="MB"),
        Target("growth after the first tenth", lambda figures: figures["its growth"], at_most=5, unit="MB"),
    ),
)
