"""The worker: reads one subscription, runs its handler on long-lived lanes, settles in batches.

receive ──> queue ──> lanes (concurrency) ──> attempt ──> settler ──> settle
              │           │
              └───────────┴── extender: one renewal for all in hand, at a third of the lease
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from pabal.model.clock import Clock
from pabal.model.errors import PabalError
from pabal.model.outcome import RELEASED, Outcome
from pabal.model.transport import Delivery, Parks, Settled, Source, Subscription
from pabal.runtime.attempt import Attempt
from pabal.runtime.handler import Handler
from pabal.runtime.reports import Counters, Unfinished
from pabal.runtime.settling import Settler
from pabal.runtime.window import Window

log = logging.getLogger("pabal.worker")

_IN_A_ROW = 64
"""How many messages a lane handles before other tasks get a turn, when nothing in the handler waits."""


class Worker:
    """Runs one handler on one subscription, from `start` to `drain`."""

    def __init__(
        self,
        handler: Handler,
        source: Source,
        subscription: Subscription,
        attempt: Attempt,
        *,
        box: Parks | None,
        clock: Clock,
    ) -> None:
        self.handler = handler
        self.counters = Counters()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._subscription = subscription
        self._attempt = attempt
        self._clock = clock
        self._window = Window(source.window, handler.concurrency, subscription.lease)
        self._queue: deque[Delivery] = deque()
        self._in_hand: set[Delivery] = set()
        self._running: dict[Delivery, float] = {}
        self._idle_lanes: deque[asyncio.Future[None]] = deque()
        self._hungry: asyncio.Event = asyncio.Event()
        self._empty: asyncio.Event = asyncio.Event()
        self._empty.set()
        self._stopping = False
        self._settler = Settler(subscription, source, box=box, clock=clock, counters=self.counters, done=self._settled)
        self._tasks: list[asyncio.Task[None]] = []
        self._feeder: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read and to handle."""
        self._feeder = self._spawn("feed", self._feed())
        for number in range(self.handler.concurrency):
            self._tasks.append(self._spawn(f"lane {number}", self._lane()))
        self._settling = self._spawn("settle", self._settler.run())
        self._tasks.append(self._spawn("park", self._settler.run_parking()))
        if self._subscription.lease is not None:
            self._tasks.append(self._spawn("extend", self._extend(self._subscription.lease)))

    async def drain(self, grace: float) -> tuple[Unfinished, ...]:
        """Take no more, give back what has not started, let the rest end within `grace` seconds.

        Returns what had not ended then; its handlers are cancelled and its messages given back.
        """
        self._stopping = True
        await _cancel([self._feeder] if self._feeder is not None else [])
        while self._queue:
            self._settler.add(Settled(self._queue.popleft(), RELEASED))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._empty.wait()
        unfinished = self.unfinished()
        await self.abort()
        return unfinished

    def unfinished(self) -> tuple[Unfinished, ...]:
        """The messages that are being handled now."""
        now = self._clock.time()
        return tuple(
            Unfinished(self.handler.name, delivery.message.channel, delivery.message.id, now - since)
            for delivery, since in self._running.items()
        )

    async def abort(self) -> None:
        """End at once: handlers are cancelled, and what is not settled is given back."""
        self._stopping = True
        await _cancel([task for task in [self._feeder, *self._tasks] if task is not None])
        self._settler.close()
        if self._settling is not None:
            await asyncio.gather(self._settling, return_exceptions=True)
        await self._subscription.aclose()
        self.failed.cancel()

    async def _feed(self) -> None:
        while True:
            for delivery in await self._subscription.receive(self._window.size):
                self._queue.append(delivery)
                self._in_hand.add(delivery)
            self._empty.clear()
            for _ in range(min(len(self._queue), len(self._idle_lanes))):
                _wake(self._idle_lanes.popleft())
            if len(self._queue) >= self.handler.concurrency:
                self._hungry.clear()
                await self._hungry.wait()

    async def _lane(self) -> None:
        queue, running, clock, window = self._queue, self._running, self._clock, self._window
        run, settle = self._attempt.run, self._settler.add
        in_a_row = 0
        while True:
            if not queue or self._stopping:
                await self._work()
                in_a_row = 0
                continue
            delivery = queue.popleft()
            if len(queue) < self.handler.concurrency:
                self._hungry.set()
            started = clock.time()
            running[delivery] = started
            outcome: Outcome = RELEASED  # a lane that is cancelled gives its message back
            try:
                outcome = await run(delivery)
            finally:
                del running[delivery]
                settle(Settled(delivery, outcome))
            if window.observe(clock.time() - started):
                self._fit_window()
            in_a_row += 1
            if in_a_row >= _IN_A_ROW:
                in_a_row = 0
                await asyncio.sleep(0)

    def _fit_window(self) -> None:
        """Hold no more than the window has become; others can take what is given back."""
        self._subscription.resize(self._window.size)
        while len(self._queue) > self._window.size:
            self._settler.add(Settled(self._queue.pop(), RELEASED))

    async def _work(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle_lanes.append(waiting)
        self._hungry.set()
        await waiting

    async def _extend(self, lease: float) -> None:
        while True:
            await self._clock.sleep(lease / 3)
            if not self._in_hand:
                continue
            try:
                lost = await self._subscription.extend(list(self._in_hand))
            except PabalError as error:
                log.warning("%s: could not extend its leases: %s", self.handler.name, error)
                continue
            self._forget(lost)

    def _forget(self, lost: Sequence[Delivery]) -> None:
        """Drop what is no longer ours and has not started; what runs finds out when it settles."""
        for delivery in lost:
            self._in_hand.discard(delivery)
            if delivery in self._queue:
                self._queue.remove(delivery)
                self.counters.lost += 1
        self._note_if_empty()
        if lost:
            log.warning("%s: lost the lease of %d deliveries, others have them now", self.handler.name, len(lost))

    def _settled(self, batch: Sequence[Settled]) -> None:
        self._in_hand.difference_update([settled.delivery for settled in batch])
        self._note_if_empty()

    def _note_if_empty(self) -> None:
        if not self._in_hand and not self._running:
            self._empty.set()

    def _spawn(self, what: str, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=f"pabal {what}: {self.handler.name}")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.failed.done():
            self.failed.set_exception(task.exception() or RuntimeError(task.get_name()))


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
