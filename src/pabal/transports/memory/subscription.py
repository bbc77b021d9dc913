"""A reader of one source, and the leases on what it has in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count

from pabal.model.clock import Timer
from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.model.outcome import ACKED, Acked, Outcome, Rejected, Released, Retried, Settlement
from pabal.model.transport import Delivery, Settled
from pabal.transports.memory.broker import Broker
from pabal.transports.memory.lanes import Entry
from pabal.transports.memory.queue import Queue

_tokens = count(1)


class MemorySubscription:
    """A member of a group, or a listener with a queue of its own.

    It buffers nothing: a delivery leaves the queue when it is received, so that a slow member holds up only
    what it has in hand. Its `window` is the most that one `receive` returns; with 0 it takes nothing.
    """

    def __init__(
        self,
        broker: Broker,
        queue: Queue,
        *,
        lease: float,
        window: int,
        closed: Callable[[MemorySubscription], None],
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._lease = lease if queue.group is not None else None
        self.window = window
        self._on_close = closed
        self._held: dict[object, Entry] = {}  # by token; every lease is as long, so the oldest ends first
        self._timer: Timer | None = None
        self._closed = False
        queue.members.add(self)

    @property
    def lease(self) -> float | None:
        """Seconds that a delivery stays ours without `extend`; None for a listener: its copies stay."""
        return self._lease

    def held(self) -> Iterable[Entry]:
        """All that is received and not settled."""
        return self._held.values()

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return 1 to `limit` of them, at most the window at once."""
        if limit < 1:
            raise ConfigurationError(f"receive takes 1 or more deliveries, not {limit}")
        while True:
            if self._closed:
                raise ConnectionFailed(f"the subscription to {self._queue.source!r} is closed")
            taken = self._queue.take(min(limit, self.window))
            if taken:
                return self._deliver(taken)
            await self._queue.arrival(self)

    def _deliver(self, taken: list[Entry]) -> list[Delivery]:
        held = self._held
        deadline = 0.0 if self._lease is None else self._broker.clock.time() + self._lease
        deliveries = []
        for entry, token in zip(taken, _tokens, strict=False):
            entry.deadline = deadline
            held[token] = entry
            deliveries.append(Delivery(entry.message, entry.attempt + 1, entry.errors, entry.redrive, token))
        if self._timer is None and self._lease is not None:
            self._timer = self._broker.clock.call_at(deadline, self._expire)
        return deliveries

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """End deliveries; LOST for those whose lease ran out, and for all once the subscription is closed."""
        held, end = self._held, self._queue.end
        settlements = [Settlement.DONE] * len(settled)
        for place, one in enumerate(settled):
            entry = held.pop(one.delivery.token, None)
            if entry is None:
                settlements[place] = Settlement.LOST
            elif one.outcome is ACKED:
                end(entry)
            else:
                self._end(entry, one.outcome)
        return settlements

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        """A message that was in hand comes again, or is a dead letter."""
        queue = self._queue
        match outcome:
            case Acked():
                queue.end(entry)
            case Released():
                queue.insert(entry)
            case Retried(after, failure):
                entry.attempt += 1
                entry.errors += (failure,) if failure is not None else ()
                if after > 0:
                    queue.delay(entry, self._broker.clock.time() + after)
                else:
                    queue.insert(entry)
            case Rejected(reason, failure):
                errors = entry.errors + ((failure,) if failure is not None else ())
                self._broker.bury(entry, reason, errors, source=queue.source, group=queue.group)
                queue.bury(entry, reason)

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """Renew the lease of deliveries in hand; returns those that are no longer ours."""
        lost = []
        deadline = self._broker.clock.time() + (self._lease or 0.0)
        for delivery in deliveries:
            entry = self._held.pop(delivery.token, None)
            if entry is None:
                lost.append(delivery)
            else:
                entry.deadline = deadline
                self._held[delivery.token] = entry
        return lost

    def resize(self, window: int, /) -> None:
        """Return at most `window` deliveries at once from now on; 0: none until it is resized again."""
        self.window = check_window(window)
        self._queue.stir()

    async def aclose(self) -> None:
        """Release every delivery that is not settled; a listener's copies are gone. Safe to call twice."""
        self.close()

    def close(self) -> None:
        """What `aclose` does, at once."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._queue.group is None:
            self._broker.drop(self._queue)
        else:
            for entry in self._held.values():
                self._queue.insert(entry)
        self._held.clear()
        self._queue.leave(self)
        self._on_close(self)

    def _expire(self) -> None:
        self._timer = None
        now = self._broker.clock.time()
        while self._held:
            token, entry = next(iter(self._held.items()))
            if entry.deadline > now:
                self._timer = self._broker.clock.call_at(entry.deadline, self._expire)
                return
            del self._held[token]
            entry.attempt += 1
            self._queue.insert(entry)


def check_window(window: int) -> int:
    """Return `window` if it is one; raises ConfigurationError otherwise."""
    if window < 0:
        raise ConfigurationError(f"a window is 0 or more deliveries, not {window}")
    return window
