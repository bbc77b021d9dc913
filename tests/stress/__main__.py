"""The tests of what happens at the same time, many times, each time in another order: `make stress`."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

TESTS = (
    *(f"tests/unit/messagebox/test_{name}.py" for name in ("jobs", "owned", "owned_model", "owned_processes")),
    *(f"tests/unit/messagebox/test_{name}.py" for name in ("room", "trouble", "turn")),
    *(f"tests/unit/runtime/test_{name}.py" for name in ("stepping", "threads", "turns", "unsettled", "window")),
    *(f"tests/unit/transports/test_memory_{name}.py" for name in ("life", "order")),
    *(f"tests/unit/transports/test_sqlite_{name}.py" for name in ("leases", "members", "model", "processes")),
    *(f"tests/acceptance/test_{name}.py" for name in ("batches", "blocking", "cancelling", "draining", "gathering")),
    *(f"tests/acceptance/test_{name}.py" for name in ("leases", "lifecycle", "overflow", "running", "settling")),
    *(f"tests/acceptance/test_{name}.py" for name in ("sharing", "signals", "worker_order")),
)
"""Threads, processes, leases, members, turns at a lock, draining, cancelling, sharing."""

JOBS = 2 * (os.cpu_count() or 1)
"""Rounds at a time: most of a round is waiting, and a busy machine makes other schedules."""

TELL = 10
"""After so many rounds it says how far it has come."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how often (200)")
    parser.add_argument("--jobs", type=int, default=JOBS, help="rounds at a time (two a processor)")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what the orders follow from")
    parser.add_argument("--first", type=int, default=1, help="the number of the first round, to repeat one")
    parser.add_argument("tests", nargs="*", default=TESTS, help="these tests instead")
    return parser.parse_args()


async def play(number: int, options: argparse.Namespace) -> tuple[int, str]:
    """One round; returns pytest's exit code and what it wrote."""
    # Each round a number for hypothesis, too, which takes nothing else.
    seed = f"{options.seed}-{number}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "tests.stress.shuffle"),
        *(f"--order={seed}", f"--hypothesis-seed={int.from_bytes(seed.encode())}", *options.tests),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        written, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return process.returncode or 0, written.decode(errors="replace")


async def main() -> int:
    """Returns 1 as soon as a round fails, with what it wrote and how to repeat it."""
    options = arguments()
    numbers = iter(range(options.first, options.first + options.rounds))
    started = time.monotonic()
    print(f"{options.rounds} rounds, {options.jobs} at a time, seed {options.seed}", flush=True)
    done = 0
    failed: list[int] = []

    async def rounds() -> None:
        nonlocal done
        for number in numbers:
            if failed:
                return
            code, written = await play(number, options)
            done += 1
            if code != 0:
                failed.append(number)
                print(written, flush=True)
            elif done % TELL == 0:
                print(f"{done} rounds passed in {time.monotonic() - started:.0f} s", flush=True)

    async with asyncio.TaskGroup() as players:
        for _ in range(options.jobs):
            players.create_task(rounds())
    for number in failed:
        again = f"--seed {options.seed} --first {number} --rounds 1"
        print(f'round {number} of {done} failed; its order again: make stress ARGS="{again}"')
    if not failed:
        print(f"all {done} rounds passed in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    # A shell that puts this into the background lets it ignore Ctrl-C, and so all tests of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(asyncio.run(main()))
