"""The workers of a running bus, started, drained and reported together."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from pabal.model.clock import Clock
from pabal.model.errors import PabalError
from pabal.runtime.reports import Counters, DrainReport, Unfinished
from pabal.runtime.worker import Worker

log = logging.getLogger("pabal.worker")


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
        """What each handler has done so far, by its name; those of one name are numbered."""
        counters: dict[str, Counters] = {}
        for worker in self._workers:
            name, number = worker.handler.name, 1
            while name in counters:
                number += 1
                name = f"{worker.handler.name} #{number}"
            counters[name] = worker.counters
        return counters

    def stop(self) -> None:
        """Ask for the end: once, `wait` returns; twice, the drain ends at once."""
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    async def wait(self) -> None:
        """Return when `stop` was asked for or the drain began; raises what made a worker stop by itself."""
        stop = asyncio.get_running_loop().create_task(self._stop.wait(), name="pabal wait for stop")
        ends: list[asyncio.Future[Any]] = [stop, *(worker.failed for worker in self._workers)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        self.check()

    def unfinished(self) -> tuple[Unfinished, ...]:
        """The messages that are being handled now."""
        return tuple(left for worker in self._workers for left in worker.unfinished())

    def check(self) -> None:
        """Raise what made a worker stop by itself."""
        for worker in self._workers:
            if worker.failed.done():
                raise worker.failed.result()

    async def drain(self) -> None:
        """Drain every worker once; later calls wait for the same drain. Cancelling one ends the drain at once."""
        self._stop.set()
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_task(self._drain(), name="pabal drain")
        try:
            await asyncio.shield(self._drained)
        except asyncio.CancelledError:
            self._now.set()
            await self._drained
            raise

    async def _drain(self) -> None:
        started = self._clock.time()
        loop = asyncio.get_running_loop()
        drains = [
            loop.create_task(worker.drain(self._grace), name=f"pabal drain: {worker.handler.name}")
            for worker in self._workers
        ]
        now = loop.create_task(self._now.wait(), name="pabal wait for a second stop")
        pending: set[asyncio.Task[Any]] = {now, *drains}
        while len(pending) > 1 and now in pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        now.cancel()
        ends = [self._end(worker, drain) for worker, drain in zip(self._workers, drains, strict=True)]
        unfinished = [left for lefts in await asyncio.gather(*ends) for left in lefts]
        self.report = DrainReport(self._clock.time() - started, self.counters, tuple(unfinished))

    async def _end(self, worker: Worker, drain: asyncio.Task[tuple[Unfinished, ...]]) -> tuple[Unfinished, ...]:
        """What a worker leaves behind; one that has not drained by now is aborted."""
        unfinished: tuple[Unfinished, ...] = ()
        try:
            if drain.done():
                return drain.result()
            unfinished = worker.unfinished()
            drain.cancel()
            await asyncio.wait([drain])
            await worker.abort()
        except PabalError as error:
            log.error("%s did not drain: %s", worker.handler.name, error)  # noqa: TRY400 - one line for the operator
        return unfinished
