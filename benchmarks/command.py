"""The command: measure, print tables, and after a full run write the documentation's figures."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime

import msgspec
from rich.console import Console

from benchmarks import table
from benchmarks.machine import this_machine
from benchmarks.measure import Measured, measure
from benchmarks.page import write_page
from benchmarks.profile import RUNS, profile
from benchmarks.workloads import WORKLOADS


def main() -> int:
    """Run what the command line asks for."""
    asked = _parser().parse_args()
    if asked.profile:
        Console(width=None if sys.stdout.isatty() else 120).print(profile(asked.profile))
        return 0
    chosen = [workload for workload in WORKLOADS if not asked.only or workload.name in asked.only]
    rounds = asked.rounds or (3 if asked.quick else 5)
    errors = Console(stderr=True)
    machine, started = this_machine(), time.monotonic()
    errors.print(str(machine))
    measured: list[Measured] = []
    with errors.status("") as status:
        for workload in chosen:
            done = measure(workload, rounds=rounds, size=0.2 if asked.quick else 1.0, progress=status.update)
            measured.append(done)
    if asked.json:
        for one in measured:
            print(msgspec.json.encode({"machine": machine, **table.record(one)}).decode())
        return 0
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table.figures(measured))
    console.print(table.verdicts(measured))
    errors.print(f"took {time.monotonic() - started:.0f} s")
    if asked.write:
        command = " ".join(["make bench ARGS='" + " ".join(sys.argv[1:]) + "'"])
        errors.print(f"wrote {write_page(measured, machine, command, f'{datetime.now(UTC):%Y-%m-%d}')}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure how fast pabal is here.")
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--only", metavar="NAME", action="append", choices=names, help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="a fifth of the messages and 3 rounds, to try things out")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (5, with --quick 3)")
    parser.add_argument("--json", action="store_true", help="one object for each workload")
    parser.add_argument("--write", action="store_true", help="write the figures and charts into the documentation")
    parser.add_argument("--profile", choices=list(RUNS), help="tell instead where the time of a message goes")
    return parser
