"""Settling what lanes have finished: coalesced, and parked first where the transport does not park."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from pabal.model.clock import Clock, utc
from pabal.model.errors import PabalError
from pabal.model.outcome import ACKED, Acked, Rejected, Released, Retried, Settlement
from pabal.model.transport import Settled, Source, Subscription
from pabal.runtime.box import Parking, letter
from pabal.runtime.reports import Counters

log = logging.getLogger("pabal.worker")

_LONGEST_PAUSE = 5.0
_PARKED = Acked()
"""Acknowledges what was parked elsewhere: told apart by identity, so that it counts as rejected."""


class Settler:
    """Writes outcomes to a subscription, many at a time.

    `box` is where dead letters go when it is not the transport itself: parking comes before acknowledging, and
    while parking fails nothing is acknowledged. `done` is called for each delivery that is settled.
    """

    def __init__(
        self,
        subscription: Subscription,
        source: Source,
        *,
        box: Parking | None,
        clock: Clock,
        counters: Counters,
        done: Callable[[Sequence[Settled]], None],
    ) -> None:
        self._subscription = subscription
        self._source = source
        self._box = box
        self._clock = clock
        self._counters = counters
        self._done = done
        self._pending: list[Settled] = []
        self._parking: list[Settled] = []
        self._work: asyncio.Event = asyncio.Event()
        self._to_park: asyncio.Event = asyncio.Event()
        self._closing = False
        self._who = source.channel if source.group is None else f"{source.channel} @ {source.group}"

    def add(self, settled: Settled) -> None:
        """Settle this soon, together with what else is there then."""
        if self._box is not None and type(settled.outcome) is Rejected:
            self._parking.append(settled)
            self._to_park.set()
            return
        if not self._pending:
            self._work.set()
        self._pending.append(settled)

    @property
    def parking(self) -> Sequence[Settled]:
        """What waits for its place among the dead letters."""
        return self._parking

    def close(self) -> None:
        """Let `run` end once all that is pending is settled."""
        self._closing = True
        self._work.set()

    async def run(self) -> None:
        """Settle until `close`."""
        while not self._closing or self._pending:
            await self._work.wait()
            await self._settle_pending()

    async def _settle_pending(self) -> None:
        self._work.clear()
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                settlements = await self._subscription.settle(batch)
            except PabalError as error:
                log.warning("%s: could not settle %d deliveries, they may come again: %s", self._who, len(batch), error)
                settlements = [Settlement.UNKNOWN] * len(batch)
            self._count(batch, settlements)
            self._done(batch)

    async def run_parking(self) -> None:
        """Park rejected messages in the box of dead letters, then acknowledge them, until cancelled."""
        pause, size = 0.1, 100
        while True:
            await self._to_park.wait()
            batch = self._parking[:size]
            try:
                await self._park(batch)
            except PabalError as error:
                log.error(  # noqa: TRY400 - one line for the operator, with its cause
                    "%s: could not park %d dead letters, trying again in %.1f s: %s",
                    self._who,
                    len(batch),
                    pause,
                    error,
                )
                # One that the box refuses must not hold up the others.
                self._parking[: len(batch)] = []
                self._parking += batch
                await self._clock.sleep(pause)
                pause, size = min(pause * 2, _LONGEST_PAUSE), 1
                continue
            pause, size = 0.1, 100
            del self._parking[: len(batch)]
            if not self._parking:
                self._to_park.clear()

    async def _park(self, batch: Sequence[Settled]) -> None:
        assert self._box is not None  # noqa: S101 - only then is anything put into _parking
        now = utc(self._clock.time())
        await self._box.park(
            [letter(s.delivery, s.outcome, self._source, now) for s in batch if isinstance(s.outcome, Rejected)]
        )
        self._pending += [Settled(settled.delivery, _PARKED) for settled in batch]
        self._work.set()

    def _count(self, batch: Sequence[Settled], settlements: Sequence[Settlement]) -> None:
        counters, done = self._counters, Settlement.DONE
        acked = 0
        for settled, settlement in zip(batch, settlements, strict=True):
            if settled.outcome is ACKED and settlement is done:
                acked += 1
                continue
            outcome = type(settled.outcome)
            if settlement is Settlement.LOST:
                counters.lost += 1
            elif settlement is Settlement.UNKNOWN:
                counters.unknown += 1
            elif outcome is Acked and settled.outcome is not _PARKED:
                counters.acked += 1
            elif outcome is Retried:
                counters.retried += 1
            elif outcome is Released:
                counters.released += 1
            else:
                counters.rejected += 1
        counters.acked += acked
