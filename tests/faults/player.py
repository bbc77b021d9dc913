"""One process of a scenario: started, killed, frozen, and gone at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.faults.waiting import until
from tests.servers.guard import Guard

STARTING = 60.0
"""Seconds in which a process has to be ready, or to end, on a busy machine."""


class Player:
    """A process that says on its standard output when it is ready; its errors go to a file beside the ledger."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        guard: Guard,
        ready: str,
        number: int = 1,
    ) -> None:
        self.who = f"{name}.{number}"
        self._command = command
        self._environment = environment
        self._errors = folder / f"{self.who}.log"
        self._guard = guard
        self._ready = ready
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.said: list[str] = []

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> Self:
        """Start it; returns once it is ready. Raises AssertionError when it ends before."""
        self.said = []
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=errors,
                env={**os.environ, **self._environment},
                process_group=0,  # apart from the terminal's signals
            )
        self._guard.add(self._process.pid)
        self._reading = asyncio.create_task(self._read(self._process), name=f"reading what {self.who} says")
        await until(lambda: self._is_ready() or not self.alive, f"{self.who} is ready", STARTING)
        assert self._is_ready(), f"{self.who} ended before it was ready; see {self._errors}"
        return self

    def errors(self) -> str:
        """What it has written to its standard error."""
        return self._errors.read_text()

    def memory(self) -> int:
        """Bytes of memory that it uses."""
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(self.pid)], capture_output=True, check=True)
        return int(told.stdout) * 1024

    async def kill(self) -> None:
        """SIGKILL; returns once it is gone."""
        self._signal(signal.SIGKILL)
        await self.ended()

    def freeze(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM; `ended` tells what came of it."""
        self._signal(signal.SIGTERM)

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.terminate()
        return await self.ended()

    async def ended(self, patience: float = STARTING) -> int:
        """Its exit code; a signal's number is negative. Raises TimeoutError."""
        process = self._running()
        async with asyncio.timeout(patience):
            code = await process.wait()
            if self._reading is not None:
                await self._reading
        self._guard.drop(process.pid)
        return code

    def _is_ready(self) -> bool:
        return any(self._ready in line for line in self.said)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            self._running().send_signal(number)

    def _running(self) -> Process:
        assert self._process is not None, f"{self.who} was not started"
        return self._process

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.said.append(line.decode())
