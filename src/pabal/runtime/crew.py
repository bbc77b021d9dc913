"""The workers of a running bus, started, drained and reported together."""

from __future__ import annotations

import asyncio
from typing import Any

from pabal.model.clock import Clock
from pabal.runtime.reports import Counters, DrainReport, Unfinished
from pabal.runtime.worker import Worker


class Crew:
    """All workers of one bus.

    `stop` asks for a drain; asked twice, it ends at once. `report` tells what the drain did.
    """

    def __init__(self, grace: float, *, clock: Clock) -> None:
        self._grace = grace
        self._clock = clock
        self._workers: list[Worker] = []
        self._stop = asyncio.Event()
        self._now = asyncio.Event()
        self._drained: asyncio.Task[None] | None = None
        self.report = DrainReport(0.0, {})

    def add(self, worker: Worker) -> None:
        """Take a worker in, before `start`."""
        self._workers.append(worker)

    def start(self) -> None:
        """Start every worker."""
        for worker in self._workers:
            worker.start()

    @property
    def counters(self) -> dict[str, Counters]:
        """What each handler has done so far, by its name."""
        return {worker.handler.name: worker.counters for worker in self._workers}

    def stop(self) -> None:
        """Ask for the end: once, `wait` returns; twice, the drain ends at once."""
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    async def wait(self) -> None:
        """Return when `stop` was asked for; raises what made a worker stop by itself."""
        stop = asyncio.ensure_future(self._stop.wait())
        ends: list[asyncio.Future[Any]] = [stop, *(worker.failed for worker in self._workers)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        for worker in self._workers:
            if worker.failed.done():
                worker.failed.result()

    async def drain(self) -> None:
        """Drain every worker once; later calls wait for the same drain."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_task(self._drain(), name="pabal drain")
        await asyncio.shield(self._drained)

    async def _drain(self) -> None:
        started = self._clock.time()
        drains = [
            asyncio.get_running_loop().create_task(w.drain(self._grace), name=f"pabal drain: {w.handler.name}")
            for w in self._workers
        ]
        now = asyncio.ensure_future(self._now.wait())
        ends: list[asyncio.Future[Any]] = [asyncio.gather(*drains), now]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            now.cancel()
        unfinished: list[Unfinished] = []
        for worker, drain in zip(self._workers, drains, strict=True):
            unfinished += await drain if drain.done() else await self._abort(worker, drain)
        self.report = DrainReport(self._clock.time() - started, self.counters, tuple(unfinished))

    async def _abort(self, worker: Worker, drain: asyncio.Task[tuple[Unfinished, ...]]) -> tuple[Unfinished, ...]:
        unfinished = worker.unfinished()
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
        await worker.abort()
        return unfinished
