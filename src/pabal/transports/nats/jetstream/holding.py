"""What a group's member has of the server and answers for, until it is settled or its lease is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from pabal.model.clock import Clock
from pabal.model.errors import ConnectionFailed, PabalError
from pabal.model.outcome import Acked, Outcome, Rejected, Retried, Settlement
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.api import NANO
from pabal.transports.nats.jetstream.consumers import Consumer
from pabal.transports.nats.jetstream.position import Position
from pabal.transports.nats.jetstream.records import Record, Records
from pabal.transports.nats.received import Received

_SURE = 0.95
"""The part of a lease that we count on: the server's began a little before we had the message."""
_ANSWER = 5.0
"""Seconds that the server has to confirm what is settled."""
_LONGEST = 30 * 24 * 3600.0
"""Seconds for which a message is given back at a time; its record tells when it is due."""


class Held(msgspec.Struct, eq=False):
    """A delivery of the server's; `until` is when its lease is over, by the event loop's time."""

    received: Received
    at: Position
    until: float
    record: Record | None = None


class Early(msgspec.Struct, frozen=True):
    """How a delivery ends that came before its time: it goes back for so many seconds, which was no attempt."""

    after: float


class Holding:
    """Deliveries by their position in the stream. The server knows no owner of one: only our own time tells that."""

    gives_back = True

    def __init__(self, connection: Connection, records: Records, consumer: Consumer, *, clock: Clock) -> None:
        assert consumer.lease is not None  # noqa: S101 - a group's consumer has one
        self._connection = connection
        self._records = records
        self._clock = clock
        self._lease = consumer.lease * _SURE
        self._key = f"{consumer.stream.name}.{consumer.name}"
        self._held: dict[int, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, received: Received, at: Position) -> Held:
        """Hold what has come; what is held at the same position was lost by then."""
        held = self._held[at.sequence] = Held(received, at, asyncio.get_running_loop().time() + self._lease)
        return held

    def look_up(self, held: Held, done: Callable[[Held], None]) -> None:
        """Find out what happened to it before, then call `done`; where that cannot be known, it is ours no more."""

        def found(record: Record | PabalError | None) -> None:
            if isinstance(record, PabalError):
                self.drop(held)  # it comes again when its lease is over
            elif record is not None and record.id == held.at.stored:
                held.record = record
            done(held)

        self._records.get(self._of(held), found)

    def is_ours(self, held: Held) -> bool:
        """Whether its lease is not over and nobody has settled it."""
        return self._held.get(held.at.sequence) is held and held.until > asyncio.get_running_loop().time()

    def drop(self, held: Held) -> None:
        """Answer for it no more."""
        if self._held.get(held.at.sequence) is held:
            del self._held[held.at.sequence]

    def wait(self, held: Held, seconds: float, enter: Callable[[Held], None]) -> bool:
        """What came too early does not wait here: it goes back."""
        del held, seconds, enter
        return False

    def take_all(self) -> list[Held]:
        """All that is still ours, of which nothing is from now on."""
        now = asyncio.get_running_loop().time()
        held = [each for each in self._held.values() if each.until > now]
        self._held.clear()
        return held

    async def end(self, ended: Sequence[tuple[Held, Outcome | Early]]) -> list[Settlement]:
        """Tell the server how deliveries end that were ours until now; returns DONE or UNKNOWN for each."""
        frames: list[tuple[Held, bytes]] = []
        kept: list[tuple[Held, bytes, Record]] = []
        over: list[str] = []
        for held, outcome in ended:
            if isinstance(outcome, Acked | Rejected):
                frames.append((held, b"" if isinstance(outcome, Acked) else b"+TERM"))
                if held.record is not None:
                    over.append(self._of(held))
                continue
            record, nak = self._returned(held, outcome)
            kept.append((held, nak, record))
        written = await self._written(kept)
        frames += [(held, nak) for held, nak, _ in kept if held in written]
        confirmed = await self._send(frames)
        if confirmed and over:
            self._records.end(over)
        unsure = {held for held, _, _ in kept if held not in written}
        return [Settlement.DONE if confirmed and held not in unsure else Settlement.UNKNOWN for held, _ in ended]

    async def extend(self, held: Sequence[Held]) -> None:
        """Renew leases of what is ours; they stay as they are when the server does not confirm that."""
        if held:
            now = asyncio.get_running_loop().time()
            if await self._send([(each, b"+WPI") for each in held]):
                for each in held:
                    each.until = now + self._lease

    def _returned(self, held: Held, outcome: Outcome | Early) -> tuple[Record, bytes]:
        """What is noted of a delivery that goes back, and what the server is told."""
        record = held.record or Record(held.at.stored)
        if not isinstance(outcome, Retried):
            record = replace(record, released=record.released + 1)
        elif outcome.failure is not None:
            record = replace(record, failures=(*record.failures, outcome.failure))
        after = outcome.after if isinstance(outcome, Retried | Early) else 0.0
        if after <= 0:
            return replace(record, due=0.0), b"-NAK"
        return replace(record, due=self._clock.time() + after), b'-NAK {"delay": %d}' % round(
            min(after, _LONGEST) * NANO
        )

    async def _written(self, kept: Sequence[tuple[Held, bytes, Record]]) -> set[Held]:
        if not kept:
            return set()
        with suppress(TimeoutError, ConnectionFailed):
            async with asyncio.timeout(_ANSWER):
                written = await self._records.put([(self._of(held), record) for held, _, record in kept])
            return {held for (held, _, _), there in zip(kept, written, strict=True) if there}
        return set()

    async def _send(self, frames: Sequence[tuple[Held, bytes]]) -> bool:
        """Send acknowledgements as one piece; whether the server has processed them."""
        if not frames:
            return True
        *others, (last, body) = frames
        before = b"".join(
            [b"PUB %s %d\r\n%s\r\n" % (held.received.reply.encode(), len(told), told) for held, told in others]
        )
        try:
            async with asyncio.timeout(_ANSWER):
                await self._connection.answered(before, last.received.reply, body)
        except (TimeoutError, ConnectionFailed):
            return False
        return True

    def _of(self, held: Held) -> str:
        return f"{self._key}.{held.at.sequence}"
