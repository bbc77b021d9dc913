"""A worker process as its supervisor sees it: what it prints is passed on line by line, orders go the other way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from pabal.cli.supervision import environment

_FAREWELL = 2.0
"""Seconds to wait for the rest of an ended process's output, which its own children may hold open."""

_writing = threading.Lock()


class WorkerCommand(msgspec.Struct, frozen=True):
    """What runs in each process: ``pabal worker`` with these buses. `numbered`: its lines begin with its number."""

    buses: Sequence[str]
    json: bool = False
    debug: bool = False
    numbered: bool = True

    @property
    def arguments(self) -> list[str]:
        """The command itself, whatever way this process was started; a folder called pabal is not taken for pabal."""
        flags = [*(["--json"] if self.json else []), *(["--debug"] if self.debug else [])]
        return [sys.executable, "-P", "-m", "pabal", "worker", *flags, "--", *self.buses]

    def prefixes(self, number: int) -> tuple[str, str]:
        """What a process's lines on standard output and standard error begin with; JSON has the number inside."""
        prefix = f"[{number}] " if self.numbered else ""
        return "" if self.json else prefix, prefix


class WorkerProcess:
    """One process of a supervisor; it ends when its supervisor does.

    Attributes:
        number: from 1 on, what its lines begin with.
        started: when, by the event loop's clock.
    """

    def __init__(self, number: int, process: asyncio.subprocess.Process, orders: int, pumps: Sequence[_Pump]) -> None:
        self.number = number
        self.started = asyncio.get_running_loop().time()
        self._process = process
        self._orders = orders
        self._pumps = pumps

    def order(self, what: bytes) -> None:
        """Give it an order of `pabal.cli.supervision`; one that has ended takes none."""
        with suppress(OSError):
            os.write(self._orders, what)

    async def wait(self) -> int:
        """Return its exit code once it has ended and its last line is passed on; a signal's number is negative."""
        code = await self._process.wait()
        orders, self._orders = self._orders, -1
        os.close(orders)
        for pump in self._pumps:
            await asyncio.to_thread(pump.thread.join, _FAREWELL)
        return code


async def start_process(number: int, command: WorkerCommand) -> WorkerProcess:
    """Start `command` as process `number`."""
    reads, orders = os.pipe()
    prefixes = command.prefixes(number)
    out, err = _Pump(prefixes[0], sys.stdout.fileno()), _Pump(prefixes[1], sys.stderr.fileno())
    try:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=out.end,
            stderr=err.end,
            env=environment(number if command.numbered else 0, reads),
            pass_fds=(reads,),
            # Apart from the terminal's signals: they are the supervisor's, which passes them on.
            process_group=0,
        )
    except BaseException:
        os.close(orders)
        raise
    finally:
        for end in (reads, out.end, err.end):
            os.close(end)
    return WorkerProcess(number, process, orders, (out, err))


def told(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class _Pump:
    """Passes on what comes out of a process, whole lines at a time, in a thread: whoever reads may be slow."""

    def __init__(self, prefix: str, target: int) -> None:
        self._prefix = prefix.encode()
        self._target = target
        self._reads, self.end = os.pipe()
        self.thread = threading.Thread(target=self._run, name="pabal output", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with open(self._reads, "rb") as lines:  # noqa: PTH123 - a descriptor, no path
            for line in lines:
                self._write(self._prefix + line.removesuffix(b"\n") + b"\n")

    def _write(self, text: bytes) -> None:
        # Past Python's streams, whose locks a thread could hold at the end. What nobody takes is let go.
        with _writing, suppress(OSError):
            while text:
                text = text[os.write(self._target, text) :]
