"""What was received from a transport that settles nothing: nobody else has it, so this process answers for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from pabal.model.clock import Clock, Timer
from pabal.model.errors import ConnectionFailed
from pabal.model.outcome import Released, Retried, Settlement
from pabal.model.transport import Delivery, Settled, Source, Subscription
from pabal.runtime.undelivered import Undelivered

_MOST_WAITING = 10_000
"""How many failed messages wait in memory before no more are received."""


class Unsettled:
    """A group's subscription to a transport that settles nothing.

    What is to be tried again waits here and is received again when it is due. What is given back, or still waits at
    the end, is undelivered (``abandoned``).
    """

    def __init__(self, inner: Subscription, source: Source, *, undelivered: Undelivered, clock: Clock) -> None:
        self._inner = inner
        self._source = source
        self._undelivered = undelivered
        self._clock = clock
        self._waiting: dict[Delivery, Timer] = {}
        self._ready: deque[Delivery] = deque()
        self._came = asyncio.Event()
        self._reading: asyncio.Task[Sequence[Delivery]] | None = None
        self._failed: BaseException | None = None
        self._closed = False

    @property
    def lease(self) -> float | None:
        """As the subscription behind it."""
        return self._inner.lease

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """What is due again and what comes anew."""
        while not self._ready:
            if self._closed:
                raise ConnectionFailed("the subscription is closed")
            if self._failed is not None:
                raise self._failed
            self._came.clear()
            self._read(limit)
            await self._came.wait()
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """Keep what is to be tried again, and park what is given back."""
        left = []
        for each in settled:
            if isinstance(each.outcome, Retried):
                again = _next(each.delivery, each.outcome)
                if self._closed:
                    left.append(again)
                else:
                    due = self._clock.time() + each.outcome.after
                    self._waiting[again] = self._clock.call_at(due, partial(self._ripen, again))
            elif isinstance(each.outcome, Released):
                left.append(each.delivery)
        await self._undelivered.park(left, "abandoned")
        return [Settlement.DONE for _ in settled]

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """As the subscription behind it."""
        return await self._inner.extend(deliveries)

    def resize(self, window: int, /) -> None:
        """As the subscription behind it."""
        self._inner.resize(window)

    async def aclose(self) -> None:
        """Park what nobody has handled, then close; safe to call twice."""
        self._closed = True
        self._came.set()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        for timer in self._waiting.values():
            timer.cancel()
        left = [*self._ready, *self._waiting]
        self._ready.clear()
        self._waiting.clear()
        try:
            await self._undelivered.park(left, "abandoned")
        finally:
            await self._inner.aclose()

    def _read(self, limit: int) -> None:
        """Have the next ones come; whoever waits for them may give up without losing any."""
        if self._reading is None and len(self._waiting) < _MOST_WAITING:
            self._reading = asyncio.get_running_loop().create_task(
                _receive(self._inner, limit), name=f"pabal receive: {self._source.channel} @ {self._source.group}"
            )
            self._reading.add_done_callback(self._have_read)

    def _have_read(self, reading: asyncio.Task[Sequence[Delivery]]) -> None:
        self._reading = None
        if reading.cancelled():
            return
        self._failed = reading.exception()
        if self._failed is None:
            self._ready.extend(reading.result())
        self._came.set()

    def _ripen(self, delivery: Delivery) -> None:
        if self._waiting.pop(delivery, None) is not None:
            self._ready.append(delivery)
            self._came.set()


async def _receive(subscription: Subscription, limit: int) -> Sequence[Delivery]:
    return await subscription.receive(limit)


def _next(delivery: Delivery, outcome: Retried) -> Delivery:
    failure = () if outcome.failure is None else (outcome.failure,)
    return replace(delivery, attempt=delivery.attempt + 1, errors=(*delivery.errors, *failure))
