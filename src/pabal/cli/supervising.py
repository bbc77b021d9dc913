"""``pabal worker --processes``: workers side by side, each replaced when it dies, all drained together."""

from __future__ import annotations

import asyncio
import signal

from pabal.cli.ending import AT_ONCE, on_signals
from pabal.cli.printing import complain, counted, note
from pabal.cli.processes import WorkerCommand, WorkerProcess, start_process, told
from pabal.cli.supervision import DRAIN, NOW

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
WELL = 10.0
"""Seconds after which a process counts as having run well: its next start is no repetition."""

MOST_WRONG = 3
"""How many processes in a row may end by wrong usage before all is given up, however long each took to find out."""

_WRONG_USAGE = 2


async def supervise(command: WorkerCommand, count: int) -> int:
    """Run `count` processes of `command` until a signal; returns the exit code.

    0: all that ran then has drained; 1: not all; 2: they ended by wrong usage again and again.
    """
    supervisor = _Supervisor(command)
    with on_signals(supervisor.stop, at_once=AT_ONCE + 1.0):
        drained = await asyncio.gather(*(supervisor.keep(number) for number in range(1, count + 1)))
    if supervisor.wrong_usage:
        return _WRONG_USAGE
    if all(drained):
        note(f"{counted(count, 'process', 'processes')} drained")
    return 0 if all(drained) else 1


def in_a_row(failures: int, lived: float) -> int:
    """How often a process has ended again and again, when one more ended that had lived so many seconds."""
    return 1 if lived >= WELL else failures + 1


def pause_after(failures: int) -> float:
    """Seconds before a process is started again that has ended so often in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))


class _Supervisor:
    def __init__(self, command: WorkerCommand) -> None:
        self._command = command
        self._asked = 0
        self._stopping = asyncio.Event()
        self._running: set[WorkerProcess] = set()
        self._wrong = 0
        self.wrong_usage = False

    def stop(self) -> None:
        """Asked once: all drain. Asked twice: all end at once."""
        self._asked += 1
        if self._asked == 1 and not self.wrong_usage:
            note("draining all processes; another signal ends them at once")
        self._stopping.set()
        for process in self._running:
            self._order(process)

    async def keep(self, number: int) -> bool:
        """Keep process `number` running until the stop; returns whether what ran then has drained."""
        failures = 0
        while not self._stopping.is_set():
            process = await start_process(number, self._command)
            self._running.add(process)
            self._order(process)
            code = await process.wait()
            self._running.discard(process)
            if self._stopping.is_set():
                return self._has_drained(number, code)
            lived = asyncio.get_running_loop().time() - process.started
            failures = in_a_row(failures, lived)
            self._count_wrong_usage(code)
            if not self.wrong_usage:
                pause = pause_after(failures)
                complain(f"process {number} {told(code)} after {lived:.1f} s; another one starts in {pause:g} s")
                await self._pause(pause)
        return True

    def _order(self, process: WorkerProcess) -> None:
        if self._asked:
            process.order(DRAIN if self._asked == 1 else NOW)

    def _has_drained(self, number: int, code: int) -> bool:
        # Before it handles signals it has taken nothing, and a service manager may signal all processes.
        drained = code in (0, -signal.SIGTERM) or (self.wrong_usage and code == _WRONG_USAGE)
        if not drained:
            complain(f"process {number} {told(code)}, not all of its work done")
        return drained

    def _count_wrong_usage(self, code: int) -> None:
        self._wrong = self._wrong + 1 if code == _WRONG_USAGE else 0
        if self._wrong == MOST_WRONG:
            complain(f"{MOST_WRONG} times in a row a process could not start: all end")
            self.wrong_usage = True
            self.stop()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
