"""A reader of one source: its buffer, and the leases on what was taken and is not settled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from pabal.messagebox.sqlite.lease import Lease, lease_of, leases_of
from pabal.messagebox.sqlite.owned import OwnedReader
from pabal.messagebox.sqlite.reader import Reader
from pabal.messagebox.sqlite.shared import SharedReader
from pabal.messagebox.sqlite.writer import Writer
from pabal.model.clock import Clock, Timer
from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.model.outcome import Settlement
from pabal.model.transport import Delivery, Settled, Source


class SqliteSubscription:
    """A member of a group, or a listener with a private group of its own.

    The thread fills the buffer as far as it was granted credit; buffer and credit together stay within the
    window. What is buffered is extended here at a third of the lease.
    """

    def __init__(
        self,
        source: Source,
        writer: Writer,
        *,
        lease: float,
        clock: Clock,
        closed: Callable[[SqliteSubscription], object],
    ) -> None:
        kind = OwnedReader if source.ordered else SharedReader
        self._reader: Reader = kind(source, self._arrived, lease=lease)
        self._writer = writer
        self._lease = lease
        self._clock = clock
        self._window = check_window(source.window)
        self._on_close = closed
        self._buffer: deque[Delivery] = deque()
        self._held: set[Lease] = set()  # buffered, or received and not settled
        self._credit = 0
        self._waiter: asyncio.Future[None] | None = None
        self._timer: Timer | None = None
        self._closing: asyncio.Task[None] | None = None
        self._broken: str | None = None

    @property
    def lease(self) -> float:
        """Seconds that a delivery stays ours without `extend`."""
        return self._lease

    @property
    def reader(self) -> Reader:
        """The subscription as the writing thread knows it."""
        return self._reader

    def start(self) -> None:
        """Begin to fill the buffer: the reader is registered."""
        self._ask()
        self._timer = self._clock.call_at(self._clock.time() + self._lease / 3, self._renew)

    def abandon(self) -> None:
        """Take a registration back whose caller was cancelled, as soon as it is done."""
        self._closing = asyncio.create_task(self._close(), name=f"pabal: closing {self._reader.source}")

    def fail(self, why: str) -> None:
        """The box is gone: nothing comes any more."""
        self._broken = why
        self._stop()

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        if limit < 1:
            raise ConfigurationError(f"receive takes 1 or more deliveries, not {limit}")
        while True:
            if self._broken is not None:
                raise ConnectionFailed(self._broken)
            received = self._pop(limit)
            self._ask()
            if received:
                return received
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """End deliveries; UNKNOWN when the file made trouble: the leases stay, and the messages may come again."""
        try:
            settlements = await self._writer.write(partial(self._reader.settle, settled=settled))
        except ConnectionFailed:
            if self._broken is not None:
                raise
            return [Settlement.UNKNOWN] * len(settled)
        self._held.difference_update(leases_of([one.delivery for one in settled], Lease))
        return settlements

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """Renew the lease of deliveries in hand; raises ConnectionFailed when the file makes trouble."""
        leases = leases_of(deliveries, Lease)
        kept = await self._renewal(leases)
        self._sift(leases, kept)
        return [delivery for delivery, ours in zip(deliveries, kept, strict=True) if not ours]

    def resize(self, window: int, /) -> None:
        self._window = check_window(window)
        if self._broken is not None:
            return
        self._writer.note(lambda box: box.resize(self._reader, window))
        self._trim()
        self._grant(max(0, window - len(self._buffer)) - self._credit)

    async def aclose(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name=f"pabal: closing {self._reader.source}")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._broken = self._broken or f"the subscription to {self._reader.source!r} is closed"
        self._stop()
        with suppress(ConnectionFailed):  # else the leases run out, and our member's row with what hangs on it
            # What the thread took before it heeds this has arrived when it answers.
            await self._writer.tell(lambda box: box.withdraw(self._reader))
            held = sorted(self._held, key=lambda lease: lease.id)
            await self._writer.write(lambda transaction: self._writer.box.leave(transaction, self._reader, held))
        self._buffer.clear()
        self._held.clear()
        self._on_close(self)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    # The buffer.

    def _arrived(self, deliveries: list[Delivery]) -> None:
        self._credit -= len(deliveries)
        self._buffer.extend(deliveries)
        self._held.update(leases_of(deliveries, Lease))
        if self._broken is None:
            self._trim()  # it was resized while these were on their way
            if self._reader.refused is not None:
                self.fail(self._reader.refused)
        self._wake()

    def _pop(self, limit: int) -> list[Delivery]:
        now = self._clock.time()
        received: list[Delivery] = []
        late: list[Lease] = []
        while self._buffer and len(received) < limit:
            delivery = self._buffer.popleft()
            lease = lease_of(delivery, Lease)
            if lease.until > now:
                received.append(delivery)
            else:
                late.append(lease)  # we were frozen: others may have it by now
        self._give_back(late)
        return received

    def _ask(self) -> None:
        if 2 * (len(self._buffer) + self._credit) <= self._window:
            self._grant(self._window - len(self._buffer) - self._credit)

    def _trim(self) -> None:
        surplus = [lease_of(self._buffer.pop(), Lease) for _ in range(len(self._buffer) - self._window)]
        self._give_back(surplus)

    def _give_back(self, leases: list[Lease]) -> None:
        if leases:
            self._held.difference_update(leases)
            self._writer.write(partial(self._reader.release, leases=leases)).add_done_callback(_unheeded)

    def _grant(self, credit: int) -> None:
        if credit:
            self._credit += credit
            self._writer.note(lambda box: box.grant(self._reader, credit))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The leases.

    def _renewal(self, leases: list[Lease]) -> asyncio.Future[list[bool]]:
        return self._writer.write(partial(self._reader.extend, leases=leases))

    def _sift(self, leases: list[Lease], kept: list[bool]) -> None:
        self._held.difference_update([lease for lease, ours in zip(leases, kept, strict=True) if not ours])

    def _renew(self) -> None:
        self._timer = self._clock.call_at(self._clock.time() + self._lease / 3, self._renew)
        leases = leases_of(self._buffer, Lease)
        if leases:
            self._renewal(leases).add_done_callback(partial(self._renewed, leases))

    def _renewed(self, leases: list[Lease], renewal: asyncio.Future[list[bool]]) -> None:
        # When it failed, the next try comes while a third of the lease is left.
        if not renewal.cancelled() and renewal.exception() is None:
            self._sift(leases, renewal.result())


def check_window(window: int) -> int:
    """Return `window` if it is one; raises ConfigurationError otherwise."""
    if window < 0:
        raise ConfigurationError(f"a window is 0 or more deliveries, not {window}")
    return window


def _unheeded(future: asyncio.Future[None]) -> None:
    # A give-back that failed ends with its lease.
    if not future.cancelled():
        future.exception()
