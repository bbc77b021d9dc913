"""Time as pabal sees it, so that tests can turn it."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Protocol


class Timer(Protocol):
    """A call that is due later and can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless when it has already run."""


class Clock(Protocol):
    """A source of time: seconds since the epoch, and calls at a time."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` in the running event loop once the time is `when`."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed."""


class SystemClock:
    """The machine's own clock."""

    time = staticmethod(time.time)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` in the running event loop once the time is `when`."""
        return asyncio.get_running_loop().call_later(max(0.0, when - time.time()), callback)

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed."""
        await asyncio.sleep(seconds)


class _VirtualTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """A clock that stands still until `advance` turns it; for tests."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._order = count()
        self._timers: list[tuple[float, int, _VirtualTimer]] = []

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` when the clock is advanced to `when`, at once if that is past."""
        timer = _VirtualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        if when <= self._now:
            asyncio.get_running_loop().call_soon(self._run_due)
        return timer

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced by `seconds`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_at(self._now + seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """Turn the clock by `seconds`, running what falls due on the way, in its order."""
        self.advance_to(self._now + seconds)

    def advance_to(self, when: float) -> None:
        """Turn the clock to this time, as `advance` does; it never goes back."""
        while self._timers and self._timers[0][0] <= when:
            self._now = max(self._now, self._timers[0][0])
            self._run_due()
        self._now = max(self._now, when)

    @property
    def next_due(self) -> float | None:
        """When something falls due next; None: nothing is waited for."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _run_due(self) -> None:
        while self._timers and self._timers[0][0] <= self._now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()


def utc(seconds: float) -> datetime:
    """Seconds since the epoch as an aware UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)
