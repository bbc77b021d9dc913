"""A reader of one subject: what comes is handed over by the server and is nobody else's then."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pabal.model.clock import Clock
from pabal.model.errors import ConfigurationError, ConnectionFailed, PabalError
from pabal.model.outcome import Reason, Settlement
from pabal.model.transport import Delivery, GroupId, Settled, Source
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.received import Received
from pabal.transports.nats.subjects import Subjects, queue
from pabal.transports.nats.wire import is_for, message_of, redrive_of

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription as Interest

log = logging.getLogger("pabal.nats")

_MOST_SPILT = 10_000
"""Messages beyond the overflow that wait to be looked after."""


class NatsSubscription:
    """A member of a queue group, or a listener.

    The server pushes, whatever the window is: more than `overflow` messages are not kept waiting, the rest goes where
    the source says.
    """

    lease = None

    def __init__(
        self,
        connection: Connection,
        source: Source,
        *,
        subjects: Subjects,
        overflow: int,
        clock: Clock,
        closed: Callable[[NatsSubscription], None],
    ) -> None:
        self._connection = connection
        self._source = source
        self._group = None if source.group is None else GroupId(source.channel, source.group)
        self._subjects = subjects
        self._overflow = overflow
        self._clock = clock
        self._on_close = closed
        self._interest: Interest | None = None
        self._came: deque[Received] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._spilt: list[Received] = []
        self._lost = 0
        self._spilling: asyncio.Task[None] | None = None
        self._turning: asyncio.Task[None] | None = None
        self._wanted = True
        self._closed = False

    async def register(self) -> None:
        """Begin to be handed messages."""
        await self._begin_reading()

    async def _begin_reading(self) -> None:
        group = self._source.group
        self._interest = await self._connection.subscribe(
            self._subjects.of(self._source.channel),
            "" if group is None else queue(self._source.channel, group),
            self._take,
        )

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return 1 to `limit` of them."""
        if limit < 1:
            raise ConfigurationError(f"receive takes 1 or more deliveries, not {limit}")
        while True:
            if self._closed:
                raise ConnectionFailed(f"the subscription to {self._source.channel!r} is closed")
            if self._came:
                came = self._came
                return [self._delivery(came.popleft()) for _ in range(min(limit, len(came)))]
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """Nothing is settled here: whatever became of a message, the server has forgotten it."""
        return [Settlement.DONE] * len(settled)

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """Nothing runs out here."""
        del deliveries
        return ()

    def resize(self, window: int, /) -> None:
        """The server pushes, whatever the window is; with one of 0 nothing is read, so that others take what comes."""
        self._wanted = window > 0
        if self._wanted is (self._interest is None) and (self._turning is None or self._turning.done()):
            self._turning = asyncio.get_running_loop().create_task(self._turn(), name="pabal nats: resizing")

    async def aclose(self) -> None:
        """Take nothing more. What a group's member still holds then goes where the source says."""
        if self._closed:
            return
        self._wanted = False
        if self._turning is not None:
            await asyncio.wait([self._turning])
        await self._turn()
        self._closed = True
        self._on_close(self)
        self._wake()
        if self._spilling is not None:
            await self._spilling
        if self._came and self._group is not None:
            left, self._came = self._came, deque()
            await self._hand_back(list(left), "abandoned")

    async def _turn(self) -> None:
        with suppress(PabalError):  # the connection tells that it is lost
            while self._wanted is (self._interest is None):
                if self._interest is None:
                    await self._begin_reading()
                else:
                    interest, self._interest = self._interest, None
                    await self._connection.unsubscribe(interest)

    def _take(self, received: Received) -> None:
        if self._closed or not is_for(received, self._group):
            return
        if len(self._came) >= self._overflow:
            if len(self._spilt) >= _MOST_SPILT:
                self._lost += 1
                return
            self._spilt.append(received)
            if self._spilling is None or self._spilling.done():
                self._spilling = asyncio.get_running_loop().create_task(self._spill(), name="pabal nats: overflow")
            return
        self._came.append(received)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _spill(self) -> None:
        while self._spilt:
            spilt, self._spilt = self._spilt, []
            await self._hand_back(spilt, "overflow")
        if self._lost:
            lost, self._lost = self._lost, 0
            log.error(
                "%s: %d messages came faster than they could be handled or kept, and are lost",
                self._source.channel,
                lost,
            )

    async def _hand_back(self, received: Sequence[Received], reason: Reason) -> None:
        """Let somebody look after messages that are not handed out here."""
        if self._source.on_undelivered is not None:
            await self._source.on_undelivered([self._delivery(each) for each in received], reason)

    def _delivery(self, received: Received) -> Delivery:
        message = message_of(self._subjects.channel(received.subject), received, self._clock)
        return Delivery(message, redrive=redrive_of(received))
