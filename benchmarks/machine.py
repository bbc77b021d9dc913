"""What was measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """The machine, and what else it was doing.

    `sync` is the seconds that the disk of the temporary folder takes to make a page safe, `load` how many
    processes wanted a core during the last minute before the run.
    """

    processor: str
    cores: int
    system: str
    python: str
    sqlite: str
    sync: float
    load: float

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.system}; Python {self.python}, SQLite {self.sqlite}; "
            f"a page is safe on the disk after {self.sync * 1e3:.2f} ms; load before the run {self.load:.1f}"
        )


def this_machine() -> Machine:
    """The machine as it is now."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        sync=_sync(),
        load=os.getloadavg()[0],
    )


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _sync() -> float:
    times = []
    with NamedTemporaryFile(prefix="pabal-bench-") as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return median(times)
