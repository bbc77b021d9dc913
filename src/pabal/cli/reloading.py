"""``pabal worker --reload``: the workers start anew when the code changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from pabal.cli.ending import AT_ONCE, on_signals
from pabal.cli.printing import complain, note
from pabal.cli.processes import WorkerCommand, WorkerProcess, start_process, told
from pabal.cli.supervision import DRAIN, NOW
from pabal.model.errors import ConfigurationError

_QUIET = 500
"""Milliseconds after which the first look of the watcher returns, so that it is known to watch."""


async def reloading(command: WorkerCommand, count: int) -> int:
    """Run `count` processes of `command` until a signal, and start them anew at each change of a .py file.

    Returns the exit code, 1 when what ran last did not drain. Raises ConfigurationError without watchfiles.
    """
    reloader = _Reloader(command, count, _look(Path.cwd()))
    with on_signals(reloader.stop, at_once=AT_ONCE + 1.0):
        return await reloader.run()


class _Reloader:
    def __init__(self, command: WorkerCommand, count: int, looks: AsyncIterator[set[Path] | None]) -> None:
        self._command = command
        self._count = count
        self._looks = looks
        self._asked = 0
        self._due = asyncio.Event()
        self._running: list[WorkerProcess] = []

    def stop(self) -> None:
        """Asked once: all drain. Asked twice: all end at once."""
        self._asked += 1
        if self._asked == 1:
            note("draining: what runs may end; another signal ends at once")
        self._due.set()
        self._order()

    async def run(self) -> int:
        """Start, wait for a change, drain, and again."""
        watching = asyncio.get_running_loop().create_task(self._watch(), name="pabal watch")
        watching.add_done_callback(lambda _: self._due.set())
        drained = True
        try:
            while not self._asked and not watching.done():
                self._due.clear()
                drained = await self._run_until_due()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        if not watching.cancelled():
            watching.result()
        return 0 if drained else 1

    async def _run_until_due(self) -> bool:
        self._running = [await start_process(number, self._command) for number in range(1, self._count + 1)]
        ends = [asyncio.create_task(self._follow(process)) for process in self._running]
        self._order()
        await self._due.wait()
        for process in self._running:
            process.order(DRAIN)
        codes = await asyncio.gather(*ends)
        self._running = []
        return not any(codes)

    async def _follow(self, process: WorkerProcess) -> int:
        """Wait for a process's end; one that ends by itself has said why, and has nothing left to drain."""
        code = await process.wait()
        if self._due.is_set():
            return code
        complain(f"process {process.number} {told(code)}; the next change starts it anew")
        return 0

    def _order(self) -> None:
        if self._asked:
            for process in self._running:
                process.order(DRAIN if self._asked == 1 else NOW)

    async def _watch(self) -> None:
        async for changed in self._looks:
            if changed is None:
                note(f"watching {Path.cwd()} for changes")
            else:
                self._take(changed)

    def _take(self, changed: Iterable[Path]) -> None:
        """Have all start anew, unless something that has changed cannot be compiled."""
        mistakes = [mistake for path in sorted(changed) if (mistake := _mistake(path)) is not None]
        for mistake in mistakes:
            complain(f"{mistake}; what ran before runs on until the next change")
        if not mistakes:
            note("the code has changed: starting anew")
            self._due.set()


def _look(folder: Path) -> AsyncIterator[set[Path] | None]:
    """The .py files below `folder` that change, again and again; first None, once no change is missed any more."""
    try:
        from watchfiles import Change, PythonFilter, awatch
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--reload needs the module {error.name!r}, which is not installed: pip install 'pabal[reload]'"
        ) from error

    async def look() -> AsyncIterator[set[Path] | None]:
        watching = False
        looks = awatch(folder, watch_filter=PythonFilter(), rust_timeout=_QUIET, yield_on_timeout=True)
        async for changes in looks:
            if not watching:
                yield None
                watching = True
            if changes:
                yield {Path(path) for kind, path in changes if kind is not Change.deleted}

    return look()


def _mistake(path: Path) -> str | None:
    """Why a file is no Python, in a line; None: it is, or it is gone."""
    try:
        compile(path.read_bytes(), path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{path}:{error.lineno}: {error.msg}"
    except ValueError as error:
        return f"{path}: {error}"
    except OSError:
        pass
    return None
