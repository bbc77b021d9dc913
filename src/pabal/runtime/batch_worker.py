"""The worker of a handler of batches: its lanes gather before they call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from pabal.model.outcome import RELEASED, Outcome
from pabal.model.transport import Settled, Source, Subscription
from pabal.runtime.attempt import Attempt
from pabal.runtime.batch_attempt import BatchAttempt, Item
from pabal.runtime.handler import Handler
from pabal.runtime.stepping import isolated
from pabal.runtime.worker import Worker, wake


class BatchWorker(Worker):
    """Runs one handler of batches on one subscription."""

    def __init__(
        self, handler: Handler, source: Source, subscription: Subscription, attempt: Attempt, **options: Any
    ) -> None:
        super().__init__(handler, source, subscription, attempt, **options)
        assert handler.batch is not None and isinstance(attempt, BatchAttempt)  # noqa: S101, PT018 - chosen by that
        self._batch = handler.batch
        self._reading = attempt

    async def _lane(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is spawned as one
        while not task.cancelling():
            if not self._queue or self._stopping:
                await self._work()
                continue
            items: list[Item] = []
            gathered = False
            try:
                gathered = await self._gather(items)
            finally:
                if not gathered:
                    for item in items:
                        self._settle(Settled(item.delivery, RELEASED))
            if gathered:
                await self._handle(items)
                await asyncio.sleep(0)  # other tasks get a turn

    async def _gather(self, items: list[Item]) -> bool:
        """Fill `items` from the queue, waiting at most the batch's time after the first; False: not to be handled."""
        queue, size = self._queue, self._batch.size
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = None
        try:
            while not self._stopping:
                while queue and len(items) < size:
                    delivery = queue.popleft()
                    read = self._reading.read(delivery)
                    if isinstance(read, Item):
                        items.append(read)
                    else:
                        self._settle(Settled(delivery, read))
                if not items or len(items) == size or not self._batch.wait or over.done():
                    return bool(items)
                if timer is None:
                    timer = self._clock.call_at(self._clock.time() + self._batch.wait, partial(wake, over))
                await self._more(over)
            return False
        finally:
            if timer is not None:
                timer.cancel()

    async def _more(self, over: asyncio.Future[None]) -> None:
        """Wait for more deliveries, or until it is `over`."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle_lanes.appendleft(waiting)  # before lanes that have nothing yet
        self._feed.hungry.set()
        try:
            await asyncio.wait((waiting, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not waiting.done():
                self._idle_lanes.remove(waiting)

    async def _handle(self, items: Sequence[Item]) -> None:
        if len(self._queue) < self._appetite:
            self._feed.hungry.set()
        started = self._clock.time()
        self._running.update((item.delivery, started) for item in items)
        outcomes: Sequence[Outcome] = [RELEASED] * len(items)
        try:
            outcomes = await isolated(self._reading.run_batch(items))
        finally:
            for item, outcome in zip(items, outcomes, strict=True):
                del self._running[item.delivery]
                self._settle(Settled(item.delivery, outcome))
        if self._window.observe(self._clock.time() - started):
            self._fit_window()
        self._wake_lanes(len(self._queue) // self._batch.size)  # what stood behind these items may fill other lanes too
