"""Where the time of a message goes, by sampling: a thread notes every millisecond where the others are.

Sampling costs the measured code nothing that it would notice, where a tracing profiler makes small functions look
large. A sample counts for the innermost function; time in C code counts for the Python function that called it. What
waits (for messages, for its turn, for the disk to wake it) is left out, what waits for the interpreter's lock is not.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import Tally
from benchmarks.worker import count_orders, make_group, publish_orders, settled
from pabal import Bus

_EVERY = 0.001
_SHOWN = 30
_WAITING = {("selectors.py", "select"), ("threading.py", "wait"), ("writer.py", "_collect")}

Spot = tuple[str, str, str]
"""A thread, a file and a function."""


def profile(what: str) -> None:
    """Profile messages through ``memory`` or ``sqlite`` and print the functions that took most."""
    with TemporaryDirectory(prefix="pabal-bench-") as folder:
        runs: dict[str, list[tuple[str, Callable[[Sampler], Coroutine[Any, Any, int]]]]] = {
            "memory": [("publish to settled on memory://, publish_many of 100", _memory)],
            "sqlite": [
                ("publishing into a file, publish_many of 100", lambda sampler: _publish(folder, sampler)),
                ("draining that file", lambda sampler: _drain(folder, sampler)),
            ],
        }
        for title, run in runs[what]:
            sampler = Sampler()
            total = asyncio.run(run(sampler))
            Console(width=120).print(sampler.table(title, total))


class Sampler:
    """Counts where the threads of this process are, while it is entered."""

    def __init__(self) -> None:
        self.spots: Counter[Spot] = Counter()
        self.seconds = 0.0
        self._samples = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        sys.setswitchinterval(0.0002)  # else a thread in C code that keeps the lock is seen where it yields it
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self._started

    def _run(self) -> None:
        mine = threading.get_ident()
        while not self._over.wait(_EVERY):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            self._samples += 1
            for ident, frame in sys._current_frames().items():
                if ident != mine and (spot := _spot(frame)) is not None:
                    self.spots[names.get(ident, "?"), *spot] += 1

    def table(self, title: str, total: int) -> Table:
        """The functions that took most, in microseconds a message."""
        each = self.seconds / self._samples / total * 1e6
        busy = Counter[str]()
        for (thread, _, _), count in self.spots.items():
            busy[thread] += count
        threads = ", ".join(f"{thread} {count * each:.2f}" for thread, count in busy.most_common())
        table = Table("thread", "where", title=title, title_justify="left")
        table.add_column("µs a message", justify="right")
        for (thread, file, function), count in self.spots.most_common(_SHOWN):
            table.add_row(thread, f"{file}: {function}", f"{count * each:.2f}")
        table.caption = (
            f"{total:,} messages, {self.seconds / total * 1e6:.2f} µs each, {self._samples} samples; busy: {threads}"
        )
        return table


def _spot(frame: FrameType) -> tuple[str, str] | None:
    code: CodeType = frame.f_code
    name = Path(code.co_filename).name
    return None if (name, code.co_name) in _WAITING else (name, code.co_qualname)


async def _memory(sampler: Sampler) -> int:
    tally = Tally(300_000)
    bus = Bus("memory://")
    count_orders(bus, tally)
    async with bus.running() as crew:
        with sampler:
            for _ in range(tally.total // 100):
                await publish_orders(bus, 100)
                await asyncio.sleep(0)
            await settled(crew, tally)
    return tally.total


async def _publish(folder: str, sampler: Sampler) -> int:
    total = 100_000
    async with Bus(f"sqlite:///{folder}/box.db") as bus:
        await make_group(bus)
        with sampler:
            await publish_orders(bus, total)
    return total


async def _drain(folder: str, sampler: Sampler) -> int:
    tally = Tally(100_000)
    bus = Bus(f"sqlite:///{folder}/box.db")
    count_orders(bus, tally)
    async with bus.running() as crew:
        with sampler:
            await settled(crew, tally)
    return tally.total
