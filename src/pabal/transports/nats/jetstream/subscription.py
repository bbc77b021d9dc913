"""A reader of a stream: a member of a group, which settles each message, or a listener."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from pabal.model.clock import Clock, utc
from pabal.model.errors import ConfigurationError, ConnectionFailed, PabalError
from pabal.model.outcome import RELEASED, Outcome, Released, Retried, Settlement
from pabal.model.transport import Delivery, GroupId, Settled, Source
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.api import NANO
from pabal.transports.nats.jetstream.asked import MEMBERS, REQUESTS, Interests
from pabal.transports.nats.jetstream.consumers import Consumer
from pabal.transports.nats.jetstream.copies import Copies
from pabal.transports.nats.jetstream.holding import Early, Held, Holding
from pabal.transports.nats.jetstream.position import position
from pabal.transports.nats.jetstream.pulling import Look, Puller
from pabal.transports.nats.received import Received
from pabal.transports.nats.subjects import Subjects, queue
from pabal.transports.nats.wire import carried, due_of, is_for, message_of, redrive_of, stored_message_of

log = logging.getLogger("pabal.nats")

_LONGEST_TICK = 2.0
_FAREWELL = 3.0
"""Seconds that the server has to take back what a closed subscription had."""
_REFUSED = 0.1
"""Seconds until the server is asked again after it refused to hand out anything."""
_MOST_REQUESTS = 10_000
"""Requests that may wait here; who asks more gets no answer."""

Restore = Callable[[], Awaitable[Consumer]]


class JetStreamSubscription:
    """Pulls from one consumer into a buffer, up to the window.

    One task tends it: it renews what was asked of the server, extends what only waits here, and gives back what is
    too much.
    """

    def __init__(
        self,
        connection: Connection,
        source: Source,
        consumer: Consumer,
        holding: Holding | Copies,
        *,
        subjects: Subjects,
        clock: Clock,
        restore: Restore,
        look: Look,
        closed: Callable[[JetStreamSubscription], Awaitable[None]],
    ) -> None:
        self.consumer = consumer
        self.lease = consumer.lease
        self.settled = 0
        self._connection = connection
        self._source = source
        self._group = None if source.group is None else GroupId(source.channel, source.group)
        self._who = source.channel if source.group is None else f"{source.channel} @ {source.group}"
        self._subjects = subjects
        self._clock = clock
        self._restore = restore
        self._on_close = closed
        self._window = source.window
        self._holding = holding
        self._puller = Puller(connection, take=self._take, over=self._fill, disturbed=self._disturb, look=look)
        self._interests = Interests(connection)
        self._ready: deque[Held] = deque()
        self._looked_up: set[Held] = set()
        self._requests: deque[Received] = deque()
        self._too_much: list[tuple[Held, Outcome | Early]] = []
        self._waiting: asyncio.Future[None] | None = None
        self._wake: asyncio.Event = asyncio.Event()
        self._renewing = False
        self._calm: asyncio.Event = asyncio.Event()
        self._calm.set()
        self._extended = 0.0
        self._tending: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    async def register(self) -> None:
        """Begin to be handed messages; raises ConnectionFailed."""
        self._connection.watch(self._disturb)
        stream, name = self.consumer.stream.name, self.consumer.name
        if self._group is not None:
            await self._interests.hear(f"{MEMBERS}.{stream}.{name}", "", self._tell)
        await self._puller.renew(self.consumer)
        await self._hear_requests()
        self._extended = asyncio.get_running_loop().time()
        self._tending = asyncio.get_running_loop().create_task(self._tend(), name=f"pabal jetstream: {self._who}")
        self._fill()

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return 1 to `limit` of them."""
        if limit < 1:
            raise ConfigurationError(f"receive takes 1 or more deliveries, not {limit}")
        while True:
            if self._closed:
                raise ConnectionFailed(f"the subscription to {self._source.channel!r} is closed")
            got = [self._request(self._requests.popleft()) for _ in range(min(limit, len(self._requests)))]
            while self._ready and len(got) < limit:
                held = self._ready.popleft()
                if self._holding.is_ours(held):
                    got.append(self._delivery(held))
            self._fill()
            if got:
                return got
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """End deliveries. What was received is ours for as long as its lease; the server itself asks for no owner."""
        settlements = [Settlement.DONE] * len(settled)
        ours: list[int] = []
        ended: list[tuple[Held, Outcome | Early]] = []
        returned = False
        for index, each in enumerate(settled):
            held = each.delivery.token
            if not isinstance(held, Held):
                continue  # a request: nobody keeps it
            if not self._holding.is_ours(held):
                settlements[index] = Settlement.LOST
            else:
                ours.append(index)
                ended.append((held, each.outcome))
                returned = returned or isinstance(each.outcome, Released | Retried)
            self._holding.drop(held)
        if returned and not self._calm.is_set() and self._connection.is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await self._calm.wait()  # or what we give back comes to us again
        for index, settlement in zip(ours, await self._holding.end(ended), strict=True):
            settlements[index] = settlement
        self.settled += len(ours)
        return settlements

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """Renew the lease of deliveries in hand; returns those that are no longer ours."""
        ours = [d.token for d in deliveries if isinstance(d.token, Held) and self._holding.is_ours(d.token)]
        await self._holding.extend(ours)
        lost = [d for d in deliveries if isinstance(d.token, Held) and not self._holding.is_ours(d.token)]
        for delivery in lost:
            assert isinstance(delivery.token, Held)  # noqa: S101 - filtered above
            self._holding.drop(delivery.token)
        return lost

    def resize(self, window: int, /) -> None:
        """Hold at most `window` deliveries ready from now on; what is held beyond goes back, uncounted."""
        if window == self._window:
            return
        self._window = window
        while len(self._ready) > window and self._holding.gives_back:
            self._too_much.append((self._ready.pop(), RELEASED))
        if self._puller.coming > window - len(self._ready):
            self._renew()
        self._fill()
        self._wake.set()

    async def aclose(self) -> None:
        """Give back every delivery that is not settled."""
        if self._closing is None:
            self._closed = True
            self._arrived()
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="pabal jetstream: closing")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.wait([self._tending])
        self._connection.unwatch(self._disturb)
        with suppress(TimeoutError, PabalError):
            async with asyncio.timeout(_FAREWELL):
                # Nothing more comes, then what did is given back.
                await self._puller.aclose(self.consumer)
                if self._connection.is_connected:
                    await self._give_back()
        self._holding.take_all()
        await self._interests.aclose()
        await self._on_close(self)

    async def _give_back(self) -> None:
        while self._looked_up:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        await self._holding.end([(held, RELEASED) for held in self._holding.take_all()])

    def _take(self, received: Received) -> None:
        at = position(received.reply)
        if at is None:
            self._fill()  # somebody else wrote to our inbox
            return
        if not is_for(received, self._group):
            if self._group is not None:
                self._connection.write(b"PUB %s 0\r\n\r\n" % received.reply.encode())
            self._fill()
            return
        held = self._holding.take(received, at)
        if at.delivered > 1:
            self._looked_up.add(held)
            self._holding.look_up(held, self._enter)
        else:
            self._place(held)

    def _enter(self, held: Held) -> None:
        """Go on with what was looked up, or has waited."""
        self._looked_up.discard(held)
        if self._holding.is_ours(held):
            self._place(held)
        else:
            self._fill()
            self._arrived()

    def _place(self, held: Held) -> None:
        """Put what has come where it is received from, if it is due and there is room."""
        # The server forgets the delays of retries when it is started again; their records do not.
        due = max(due_of(held.received), 0.0 if held.record is None else held.record.due)
        early = due - self._clock.time() if due else 0.0
        if early > 0:
            if not self._holding.wait(held, early, self._enter):
                self._too_much.append((held, Early(early)))
                self._wake.set()
        elif len(self._ready) >= self._window and self._holding.gives_back and not self._closed:
            self._too_much.append((held, RELEASED))
            self._wake.set()
        else:
            self._ready.append(held)
        self._arrived()

    def _arrived(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _fill(self) -> None:
        if not self._closed:
            self._puller.ask(self._window - len(self._ready) - len(self._looked_up), self._window)

    def _disturb(self) -> None:
        self._renew()
        self._wake.set()

    def _renew(self) -> None:
        self._puller.stop()
        self._renewing = True
        self._calm.clear()

    async def _tend(self) -> None:
        pause = min((self.lease or 3 * _LONGEST_TICK) / 3, _LONGEST_TICK)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._look_after()
            except PabalError as error:
                log.warning("%s: %s", self._who, error)
                self._disturb()
                await asyncio.sleep(pause)

    async def _look_after(self) -> None:
        if self._renewing or self._puller.is_silent:
            self._renewing = False
            if self._puller.gone or self._puller.is_silent:
                await asyncio.sleep(_REFUSED)
                self.consumer = await self._restore()
            await self._puller.renew(self.consumer)
            if not self._renewing:
                self._calm.set()
        await self._hear_requests()
        if self._too_much:
            too_much, self._too_much = self._too_much, []
            await self._holding.end([each for each in too_much if self._holding.is_ours(each[0])])
            for held, _ in too_much:
                self._holding.drop(held)
        now = asyncio.get_running_loop().time()
        if self.lease is not None and now - self._extended >= self.lease / 3:
            self._extended = now
            await self._holding.extend([held for held in self._ready if self._holding.is_ours(held)])
        self._looked_up = {held for held in self._looked_up if self._holding.is_ours(held)}
        self._fill()

    async def _hear_requests(self) -> None:
        """Be asked while messages are taken, and only then."""
        subject = f"{REQUESTS}.{self._subjects.of(self._source.channel)}"
        if self._window:
            group = self._group
            await self._interests.hear(subject, "" if group is None else queue(group.source, group.name), self._asked)
        else:
            await self._interests.leave(subject)

    def _asked(self, received: Received) -> None:
        if len(self._requests) < _MOST_REQUESTS and not self._closed:
            self._requests.append(received)
            self._arrived()

    def _tell(self, received: Received) -> None:
        if received.reply:
            told = b"%d" % len(self._holding)
            self._connection.write(b"PUB %s %d\r\n%s\r\n" % (received.reply.encode(), len(told), told))

    def _request(self, received: Received) -> Delivery:
        channel = self._subjects.channel(received.subject[len(REQUESTS) + 1 :])
        return Delivery(message_of(channel, received, self._clock))

    def _delivery(self, held: Held) -> Delivery:
        received, at, record = held.received, held.at, held.record
        message = stored_message_of(
            self._subjects.channel(received.subject),
            received,
            lambda: (f"{at.stream}:{at.sequence}", utc(int(at.stored) / NANO)),
        )
        attempt = at.delivered
        before, errors = carried(received)
        attempt += before
        if record is not None:
            attempt -= record.released
            errors = (*errors, *record.failures)
        return Delivery(message, max(1, attempt), errors, redrive_of(received), held)
