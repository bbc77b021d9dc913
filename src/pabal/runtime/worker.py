"""The worker: reads one subscription, runs its handler on long-lived lanes, settles in batches.

receive ──> queue ──> lanes (concurrency) ──> attempt ──> settler ──> settle
              │           │
              └───────────┴── leases: one renewal for all in hand, at a third of the lease

An ordered handler's queue has of each key at most one; what follows it waits in `Turns`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from contextvars import copy_context
from typing import Any

from pabal.model.clock import Clock
from pabal.model.outcome import RELEASED, Acked, Outcome, Rejected
from pabal.model.transport import Delivery, Settled, Source, Subscription
from pabal.runtime.attempt import Attempt
from pabal.runtime.box import Parking
from pabal.runtime.feed import Feed
from pabal.runtime.handler import Handler
from pabal.runtime.leases import keep_leases
from pabal.runtime.reports import Counters, Unfinished
from pabal.runtime.settling import Settler
from pabal.runtime.stepping import is_clean, isolated
from pabal.runtime.turns import Turns
from pabal.runtime.window import Window

log = logging.getLogger("pabal.worker")

_IN_A_ROW = 128
"""How many messages a lane handles before other tasks get a turn, when nothing in the handler waits."""

_OBSERVED = 8
"""After how many calls, at the latest, the window is told how long they took."""

_WINDOWS_IN_HAND = 10
"""How many windows of deliveries may wait for their settlement before no more are received."""

_FAREWELL = 2.0
"""Seconds that a cancelled handler, and then the last settlements, have to end."""


class Worker:
    """Runs one handler on one subscription, from `start` to `drain`.

    `failed` gets the error that made it stop by itself.
    """

    def __init__(
        self,
        handler: Handler,
        source: Source,
        subscription: Subscription,
        attempt: Attempt,
        *,
        counters: Counters,
        window: Window,
        box: Parking | None,
        clock: Clock,
    ) -> None:
        self.handler = handler
        self.counters = counters
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._subscription = subscription
        self._attempt = attempt
        self._clock = clock
        self._window = window
        self._most_in_hand = _WINDOWS_IN_HAND * source.window
        self._turns = Turns() if handler.ordered else None
        self._queue: deque[Delivery] = deque() if self._turns is None else self._turns.ready
        self._appetite = appetite(handler)
        self._in_hand: set[Delivery] = set()
        self._running: dict[Delivery, float] = {}
        self._idle_lanes: deque[asyncio.Future[None]] = deque()
        self._empty: asyncio.Event = asyncio.Event()
        self._empty.set()
        self._stopping = False
        self._feed = Feed(subscription, window, take_in=self._take_in, is_sated=self._is_sated)
        self._settler = Settler(subscription, source, box=box, clock=clock, counters=counters, done=self._settled)
        self._settle = self._settler.add if self._turns is None else self._settle_in_turn
        self._lanes: set[asyncio.Task[None]] = set()
        self._helpers: list[asyncio.Task[None]] = []
        self._feeder: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read and to handle."""
        self._feeder = self._spawn("feed", self._feed.run())
        for _ in range(self.handler.concurrency):
            self._open_lane()
        self._settling = self._spawn("settle", self._settler.run())
        self._helpers.append(self._spawn("park", self._settler.run_parking()))
        if self._subscription.lease is not None:
            keeping = keep_leases(
                self._subscription,
                self._subscription.lease,
                self._in_hand,
                clock=self._clock,
                who=self.handler.name,
                lost=self._forget,
            )
            self._helpers.append(self._spawn("leases", keeping))

    async def drain(self, grace: float) -> tuple[Unfinished, ...]:
        """Take no more, give back what has not started, let the rest end within `grace` seconds.

        Returns what had not ended then; its handlers are cancelled and its messages given back.
        """
        self._stopping = True
        self._subscription.resize(0)  # or it would take again what is given back
        await _cancel([self._feeder])
        self._give_back(self._clear())
        self._wake_lanes(len(self._idle_lanes))  # one that gathers a batch gives it back
        if self._settling is not None:
            empty = asyncio.get_running_loop().create_task(self._empty.wait(), name=f"pabal drain: {self.handler.name}")
            try:
                # A settler that has died would leave it waiting for nothing.
                await asyncio.wait([empty, self._settling], timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            finally:
                empty.cancel()
        unfinished = self.unfinished()
        await self.abort()
        return unfinished

    def unfinished(self) -> tuple[Unfinished, ...]:
        """The messages that are being handled now, and those that found no place among the dead letters."""
        now = self._clock.time()
        handled = list(self._running.items())
        for settled in self._settler.parking:
            failure = settled.outcome.failure if isinstance(settled.outcome, Rejected) else None
            handled.append((settled.delivery, now if failure is None else failure.time.timestamp()))
        return tuple(
            Unfinished(self.handler.name, delivery.message.channel, delivery.message.id, now - since)
            for delivery, since in handled
        )

    async def abort(self) -> None:
        """End at once: handlers are cancelled, and what is not settled is given back."""
        self._stopping = self._attempt.over = True
        left = await _cancel([self._feeder, *self._helpers, *self._lanes])
        if left:
            log.error("%s: %d calls go on though they were cancelled; left alone", self.handler.name, len(left))
        self._settler.close()
        if self._settling is not None:
            await asyncio.wait([self._settling], timeout=_FAREWELL)
            await _cancel([self._settling])
        await self._subscription.aclose()

    def _take_in(self, received: Sequence[Delivery]) -> None:
        self._in_hand.update(received)
        self._empty.clear()
        if self._turns is None:
            self._queue.extend(received)
        else:
            self._line_up(self._turns, received)
        self._wake_lanes(len(self._queue))

    def _is_sated(self) -> bool:
        if len(self._in_hand) >= self._most_in_hand:
            return True
        if self._turns is not None and self._turns.is_full(self._window.size):
            return True
        if self._window.size <= self._appetite:  # a slow handler: others may be free to begin what waits
            return bool(self._queue) or not self._idle_lanes
        return len(self._queue) >= self._appetite

    def _open_lane(self) -> None:
        lane = self._spawn("lane", self._lane())
        self._lanes.add(lane)
        lane.add_done_callback(self._lane_ended)

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        if not self._stopping and (lane.cancelled() or lane.exception() is None):
            self._open_lane()

    async def _lane(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is spawned as one
        in_a_row = 0
        while not task.cancelling():  # by its handler or from outside: another lane begins with a clean slate
            if not self._queue and not self._stopping:
                await self._feed.help()
            if not self._queue or self._stopping:
                await self._work()
                in_a_row = 0
                continue
            in_a_row += await isolated(self._row(task, _IN_A_ROW - in_a_row))
            if in_a_row >= _IN_A_ROW:
                in_a_row = 0
                await asyncio.sleep(0)

    async def _row(self, task: asyncio.Task[None], most: int) -> int:
        """Handle up to `most` deliveries, one at least; returns how many.

        It ends early where nothing waits, and after a handler that has set a context variable: it is run in a context
        of its own, so the next row begins as this one did.
        """
        queue, running, now, appetite = self._queue, self._running, self._clock.time, self._appetite
        run, settle, patience = self._attempt.run, self._settle, self._window.patience
        before = copy_context()
        bare = not before
        observed = 0
        began = started = now()
        for handled in range(1, most + 1):
            delivery = queue.popleft()
            if len(queue) < appetite:
                self._feed.hungry.set()
            running[delivery] = started
            outcome: Outcome = RELEASED  # a lane that is cancelled gives its message back
            try:
                outcome = await run(delivery)
            finally:
                del running[delivery]
                settle(Settled(delivery, outcome))
            started = now()
            clean = not copy_context() if bare else is_clean(before)
            if not (queue and clean) or self._stopping or task.cancelling():
                break
            if not handled % _OBSERVED or started - began >= patience:
                self._observe(started - began, handled - observed)
                observed, began = handled, started
        if handled > observed:
            self._observe(started - began, handled - observed)
        return handled

    def _observe(self, seconds: float, calls: int) -> None:
        """Fit the window to calls that took so long together."""
        if self._window.observe(seconds / calls, calls):
            self._fit_window()

    def _line_up(self, turns: Turns, received: Sequence[Delivery]) -> None:
        """Put deliveries behind those of their key, which holds at most half the window."""
        most = max(2, self._window.size // 2)  # one that runs and one at hand
        self._give_back([delivery for delivery in received if not turns.take(delivery, most)])

    def _settle_in_turn(self, settled: Settled) -> None:
        """Settle, and let the next of its key begin, or give back what stands behind what comes again."""
        turns, outcome = self._turns, type(settled.outcome)
        assert turns is not None  # noqa: S101 - it is ordered
        if outcome is Acked or (outcome is Rejected and self.handler.on_dead == "continue"):
            turns.end(settled.delivery)
            self._settler.add(settled)
            return
        turns.returning(settled.delivery)
        self._settler.add(settled)
        self._give_back(turns.break_off(settled.delivery))

    def _give_back(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            if self._turns is not None:
                self._turns.returning(delivery)
            self._settler.add(Settled(delivery, RELEASED))

    def _clear(self) -> list[Delivery]:
        """Drop and return all that has not started."""
        if self._turns is not None:
            return self._turns.clear()
        left = list(self._queue)
        self._queue.clear()
        return left

    def _fit_window(self) -> None:
        """Hold no more than the window has become; others can take what is given back."""
        self._subscription.resize(self._window.size)
        while len(self._queue) > self._window.size:
            delivery = self._queue.pop()
            self._give_back([delivery])
            if self._turns is not None:
                self._give_back(self._turns.break_off(delivery))

    def _wake_lanes(self, count: int) -> None:
        idle = self._idle_lanes
        while count > 0 and idle:
            count -= wake(idle.popleft())

    async def _work(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle_lanes.append(waiting)
        self._feed.hungry.set()
        await waiting

    def _forget(self, lost: Sequence[Delivery]) -> None:
        """Drop what is no longer ours and has not started; what runs finds out when it settles."""
        for delivery in lost:
            if self._turns is not None:
                self.counters.lost += delivery in self._turns
                self._give_back(self._turns.lose(delivery))
            elif delivery in self._queue:
                self._queue.remove(delivery)
                self.counters.lost += 1
        self._note_progress()
        log.warning("%s: lost the lease of %d deliveries, others have them now", self.handler.name, len(lost))

    def _settled(self, batch: Sequence[Settled]) -> None:
        deliveries = [settled.delivery for settled in batch]
        self._in_hand.difference_update(deliveries)
        if self._turns is not None:
            self._turns.recorded(deliveries)
        self._note_progress()

    def _note_progress(self) -> None:
        if not self._in_hand and not self._running:
            self._empty.set()
        if len(self._in_hand) < self._most_in_hand:
            self._feed.hungry.set()

    def _spawn(self, what: str, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=f"pabal {what}: {self.handler.name}")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._stopping and not self.failed.done():
            log.error("%s stopped: %s", self.handler.name, error, exc_info=error)
            self.failed.set_result(error)


def appetite(handler: Handler) -> int:
    """How many deliveries all lanes of a handler take at once."""
    return handler.concurrency * (1 if handler.batch is None else handler.batch.size)


def wake(waiting: asyncio.Future[None]) -> bool:
    """Whether somebody was still waiting."""
    if waiting.done():
        return False
    waiting.set_result(None)
    return True


async def _cancel(tasks: Iterable[asyncio.Task[None] | None]) -> set[asyncio.Task[None]]:
    """Cancel tasks and wait until they have ended; returns those that did not take it."""
    cancelled = {task for task in tasks if task is not None and not task.done()}
    for task in cancelled:
        task.cancel()
    if not cancelled:
        return set()
    return (await asyncio.wait(cancelled, timeout=_FAREWELL))[1]
