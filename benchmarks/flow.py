"""What one process publishes and another handles, through a server."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from benchmarks.load import BATCH, Order, Tally
from benchmarks.measure import Figures
from benchmarks.process import Ready, together

_ON_THEIR_WAY = 1_000
_LOOK = 0.0005
_PATIENCE = 60.0
_spawning = multiprocessing.get_context("spawn")


class Used(msgspec.Struct, frozen=True):
    """What a process took: the CPU in seconds, between two readings of the machine's monotonic clock."""

    began: float
    ended: float
    cpu: float


class Watch:
    """Takes the time and the CPU of this process from now on."""

    def __init__(self) -> None:
        self._began, self._cpu = time.monotonic(), time.process_time()

    def stop(self) -> Used:
        """What was taken so far."""
        return Used(self._began, time.monotonic(), time.process_time() - self._cpu)


class Flow(Tally):
    """A tally that the publishing process sees: where it is `paced`, it waits while a thousand are on their way.

    `copies` is how often each message is handled. `watch` runs from the first message that is handled here.
    """

    def __init__(self, total: int, *, paced: bool = False, copies: int = 1) -> None:
        super().__init__(total * copies)
        self.messages = total
        self._copies = copies
        self._paced = paced
        self._handled = _spawning.RawValue("q", 0)
        self._finished: asyncio.Event | None = None
        self.watch = Watch()

    def note(self, order: Order | dict[str, Any]) -> None:
        """One more."""
        if not self.count:
            self.watch = Watch()
        self.count += 1
        self._handled.value = self.count
        if self.count == self.total and self._finished is not None:
            self._finished.set()

    async def finished(self) -> None:
        """Return once all are handled in this process."""
        self._finished = asyncio.Event()
        if not self.full:
            await self._finished.wait()

    async def room(self, published: int) -> None:
        """Return once another hundred may be published after so many."""
        most = _ON_THEIR_WAY - BATCH
        while self._paced and published - self._handled.value // self._copies > most:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)  # another process counts


Way = Callable[[str, Flow, Ready], Coroutine[Any, Any, Used]]
"""Publishes or handles all of a flow at a server; it calls its last argument when it is set up."""


def live(name: str, url: str, flow: Flow, publish: Way, handle: Way) -> Figures:
    """Both at once: the rate from the first publish until the last message is settled, and the CPU of handling one."""
    published, handled = together(partial(_run, publish, url, flow), partial(_run, handle, url, flow))
    return {
        f"{name}, together": flow.total / (handled.ended - published.began),
        f"CPU, {name}, together": handled.cpu / flow.total * 1e6,
    }


def publishing(name: str, url: str, flow: Flow, publish: Way) -> Figures:
    """Publishing alone: its rate and its CPU."""
    (used,) = together(partial(_run, publish, url, flow))
    return {
        f"{name}, publish": flow.messages / (used.ended - used.began),
        f"CPU, {name}, publish": used.cpu / flow.messages * 1e6,
    }


def consuming(name: str, url: str, flow: Flow, drain: Way) -> Figures:
    """Handling what is there: its rate and its CPU."""
    (used,) = together(partial(_run, drain, url, flow))
    return {
        f"{name}, consume": flow.total / (used.ended - used.began),
        f"CPU, {name}, consume": used.cpu / flow.total * 1e6,
    }


def _run(way: Way, url: str, flow: Flow, ready: Ready) -> Used:
    async def run() -> Used:
        async with asyncio.timeout(_PATIENCE):
            return await way(url, flow, ready)

    return asyncio.run(run())
