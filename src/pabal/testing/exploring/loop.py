"""An event loop whose time passes only when there is nothing else to do, so that a day takes no time and no chance."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from contextvars import Context, copy_context
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakSet

from pabal.model.clock import Timer, utc
from pabal.testing.exploring.process import OWNER, Process, Step

START = datetime.fromisoformat("2026-01-01T00:00:00Z").timestamp()

_Events = list[tuple[selectors.SelectorKey, int]]


class Idle(Protocol):
    """What to do when nothing is ready; see `SimulatedLoop`."""

    def __call__(self, due: float | None, *, waited: bool) -> float:
        """Returns how long to wait, in real seconds, for threads and sockets."""
        ...


class _Selector(selectors.DefaultSelector):
    """Asks the loop's world before it waits."""

    def __init__(self, idle: Idle) -> None:
        super().__init__()
        self._idle = idle
        self._waited = False

    def select(self, timeout: float | None = None) -> _Events:
        events: _Events = super().select(0)
        if not events and (timeout is None or timeout > 0):
            patience = self._idle(timeout, waited=self._waited)
            events = super().select(patience) if patience > 0 else events
            self._waited = patience > 0 and not events
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs what its processes have to do, and turns its own time.

    When nothing is ready it calls `idle` with the seconds until something is due (None: nothing is). That returns how
    long to wait, in real seconds, for threads and sockets; it may `pass_time` instead, or make something ready.
    `waited` tells that the last such wait brought nothing.
    """

    def __init__(self, idle: Idle) -> None:
        self._now = 0.0
        self._threads: dict[asyncio.Future[Any], Process | None] = {}
        self._timed: WeakSet[asyncio.Future[Any]] = WeakSet()
        self._ours = _Selector(idle)
        super().__init__(self._ours)

    def time(self) -> float:
        """Seconds since the run began."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """Turn the time."""
        self._now += seconds

    def waits_outside(self, but: Collection[object]) -> bool:
        """Whether a socket is open, or a thread works for a process that runs; but for these."""
        threads = (owner for future, owner in self._threads.items() if future not in but)
        return len(self._ours.get_map()) > 1 or any(owner is None or owner.runs for owner in threads)

    def is_timed(self, future: object) -> bool:
        """Whether a future is done by time alone, as that of `asyncio.sleep`."""
        return isinstance(future, asyncio.Future) and future in self._timed

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run it soon, unless its process is dead by then."""
        context = copy_context() if context is None else context
        owner = context.get(OWNER)
        if owner is None:
            return super().call_soon(callback, *args, context=context)
        step = callback if isinstance(callback, Step) else Step(owner, callback, args, context)
        handle = super().call_soon(step, context=context)
        step.handle = step.handle or handle
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it then, unless its process is dead by then."""
        context = copy_context() if context is None else context
        owner = context.get(OWNER)
        self._timed.update(arg for arg in args if isinstance(arg, asyncio.Future))
        if owner is None:
            return super().call_at(when, callback, *args, context=context)
        step = Step(owner, callback, args, context)
        step.handle = super().call_at(when, step, context=context)
        return step.handle

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run it on a thread, in real time."""
        future = super().run_in_executor(executor, func, *args)
        self._threads[future] = OWNER.get()
        future.add_done_callback(self._thread_is_done, context=Context())
        return future

    def _thread_is_done(self, future: asyncio.Future[Any]) -> None:
        del self._threads[future]


class LoopClock:
    """The time of a simulated loop, as pabal sees it; it begins with the year 2026."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        """Seconds since the epoch."""
        return START + self._loop.time()

    def now(self) -> datetime:
        """The time in UTC."""
        return utc(self.time())

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` once the time is `when`."""
        return self._loop.call_at(max(when - START, self._loop.time()), callback)

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed."""
        await asyncio.sleep(seconds)
