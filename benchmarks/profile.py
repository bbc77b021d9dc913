"""Where the time of a message goes, sampled 200 times a second from outside by py-spy.

A tracing profiler makes small functions look large, and a sampler inside the process sees threads only where they
let go of the interpreter's lock; py-spy does neither. A sample counts for the innermost Python function, with what
that calls in C. What waits for messages is left out; waiting for the interpreter's lock counts where it happens.
py-spy reads another process's memory, which some systems allow to their administrator only.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import sysconfig
from collections import Counter
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from benchmarks.load import Tally
from benchmarks.process import alone
from benchmarks.worker import count_orders, make_group, publish_orders, settled
from pabal import Bus

_RATE = 200
_WAITING = ("EpollSelector.select", "KqueueSelector.select", "Jobs.take", "_Waiter._run")
_TOTALS = {"memory": 2_000_000, "publish": 300_000, "drain": 300_000}
_SHOWN = 40

RUNS = {
    "memory": "publish to settled on memory://, publish_many of 100",
    "publish": "publishing into a file, publish_many of 100",
    "drain": "draining a file",
}


def profile(what: str) -> Table:
    """Profile one of `RUNS`; returns the functions that took most."""
    with TemporaryDirectory(prefix="pabal-bench-") as folder:
        url = f"sqlite:///{folder}/box.db"
        if what == "drain":
            alone(partial(_run, "publish", url))
        samples = Path(folder, "samples")
        py_spy = Path(sysconfig.get_path("scripts"), "py-spy")
        recorder = [
            str(py_spy),
            "record",
            "--format",
            "raw",
            "--rate",
            str(_RATE),
            "--threads",
            "--output",
            str(samples),
        ]
        subprocess.run([*recorder, "--", sys.executable, "-m", __spec__.name, what, url], check=True, stdout=sys.stderr)
        return _table(what, samples.read_text())


def _table(what: str, samples: str) -> Table:
    spots: Counter[tuple[str, str]] = Counter()
    threads: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, samples_there = line.rpartition(" ")
        name, *frames = stack.split(";")
        if not frames or "importlib" in stack or frames[-1].startswith(_WAITING):
            continue
        thread = "writer" if "pabal-sqlite" in name else "loop"
        spots[thread, f"{frames[-1].rpartition(':')[0]})"] += int(samples_there)
        threads[thread] += int(samples_there)
    each = 1e6 / _RATE / _TOTALS[what]
    table = Table("thread", "where", title=RUNS[what], title_justify="left")
    table.add_column("µs a message", justify="right")
    table.add_column("share", justify="right")
    whole = sum(threads.values())
    for (thread, where), count in spots.most_common(_SHOWN):
        table.add_row(thread, where, f"{count * each:.2f}", f"{count / whole:.1%}")
    table.caption = ", ".join(f"{thread} {count * each:.2f} µs" for thread, count in threads.most_common())
    return table


def _run(what: str, url: str) -> None:
    asyncio.run({"memory": _memory, "publish": _publish, "drain": _drain}[what](url))


async def _memory(_: str) -> None:
    tally = Tally(_TOTALS["memory"])
    bus = Bus("memory://")
    count_orders(bus, tally)
    async with bus.running() as crew:
        for published in range(100, _TOTALS["memory"] + 1, 100):
            await publish_orders(bus, 100)
            while published - tally.count >= 1_000:  # noqa: ASYNC110 - an event would be one more thing to do
                await asyncio.sleep(0)
        await settled(crew, tally)


async def _publish(url: str) -> None:
    async with Bus(url) as bus:
        await make_group(bus)
        await publish_orders(bus, _TOTALS["publish"])


async def _drain(url: str) -> None:
    tally = Tally(_TOTALS["drain"])
    bus = Bus(url)
    count_orders(bus, tally)
    async with bus.running() as crew:
        await settled(crew, tally)


if __name__ == "__main__":
    _run(*sys.argv[1:])
