"""A bus with its handlers that can be stopped and started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pabal import Bus, CapabilityError

log = logging.getLogger("todo")


class Worker:
    """Runs the bus that `make` gives: a new one at each start, since a closed bus stays closed.

    `problem` says why it does not run though nobody stopped it.
    """

    def __init__(self, name: str, make: Callable[[], Bus]) -> None:
        self.name = name
        self.problem: str | None = None
        self._make = make
        self._stop: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def running(self) -> bool:
        """Whether its handlers are at work."""
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Return when the handlers have subscribed; harmless when it runs. Raises what kept it from starting."""
        async with self._turn:
            if self.running:
                return
            self.problem = None
            started: asyncio.Future[Callable[[], None]] = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(started), name=f"todo: {self.name}")
            self._task.add_done_callback(self._ended)
            try:
                await asyncio.wait((started, self._task), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                self._task.cancel()
                raise
            if self._task.done():
                self._task.result()
            self._stop = started.result()

    async def stop(self) -> None:
        """Finish what was begun, give back the rest, and stop; harmless when it does not run."""
        async with self._turn:
            if self.running and self._task is not None and self._stop is not None:
                self._stop()
                await asyncio.wait((self._task,))

    async def _run(self, started: asyncio.Future[Callable[[], None]]) -> None:
        async with self._make().running() as crew:
            started.set_result(crew.stop)
            await crew.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.problem = str(error)
            level = logging.WARNING if isinstance(error, CapabilityError) else logging.ERROR
            log.log(level, "%s does not run: %s", self.name, error)
