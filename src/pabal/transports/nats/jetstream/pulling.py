"""Asking a consumer for messages ahead: they all come to one inbox that lives as long as its reader."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from pabal.model.errors import PabalError
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.api import NANO
from pabal.transports.nats.jetstream.consumers import Consumer
from pabal.transports.nats.received import STATUS, Received

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription as Interest

_EXPIRES = 60.0
_HEARTBEAT = 5.0
_SILENT = 2.5 * _HEARTBEAT
"""Seconds without a message or a heartbeat after which the server has forgotten that we asked."""
_HEARTBEAT_CODE = "100"
_DIGITS = 10
"""Fewer are those of a number of messages that were asked for."""
_OVER = ("404", "408")
"""The codes of a request that has ended: nothing there, or its time is over."""

Look = Callable[[str, str], Awaitable[object]]


class Puller:
    """Asks for messages and counts those that are still to come.

    `take` is called with each message, `over` when a request has ended without all that was asked for. `disturbed` is
    called when the reader is to `renew`; `gone` says whether the consumer itself is in doubt. `look` asks the server
    about a consumer, by which it notices requests that nobody waits for: NATS 2.9 would give a returned message to one
    of those, keep it until its lease is over, and hand out another one twice.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        take: Callable[[Received], None],
        over: Callable[[], None],
        disturbed: Callable[[], None],
        look: Look,
    ) -> None:
        self.coming = 0
        self.gone = False
        self._connection = connection
        self._take = take
        self._over = over
        self._disturbed = disturbed
        self._look = look
        self._call = b""
        self._most: int | None = None
        self._inbox = connection.new_inbox()
        self._generation = 0
        self._interest: Interest | None = None
        self._number = 0
        self._heard = 0.0
        self._ready = False

    def ask(self, room: int, window: int) -> None:
        """Have as many messages come as there is room for, once that is worth a request."""
        missing = room - self.coming
        if missing <= 0 or not self._ready or (self.coming and 2 * missing < window):
            return
        if not self.coming:
            self._heard = asyncio.get_running_loop().time()
        self.coming += missing
        while missing > 0:
            batch = missing if self._most is None else min(missing, self._most)
            missing -= batch
            self._number += 1
            body = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (batch, _EXPIRES * NANO, _HEARTBEAT * NANO)
            reply = f"{self._inbox}.{self._generation}.{self._number}".encode()
            self._connection.write(b"PUB %s %s %d\r\n%s\r\n" % (self._call, reply, len(body), body))

    def stop(self) -> None:
        """Ask for nothing until `renew`."""
        self._ready = False

    @property
    def is_silent(self) -> bool:
        """Whether something was to come, and not even a heartbeat did."""
        return self.coming > 0 and asyncio.get_running_loop().time() - self._heard > _SILENT

    async def renew(self, consumer: Consumer) -> None:
        """Call off all that was asked for, and be ready to ask this consumer; raises ConnectionFailed."""
        self._ready = False
        self._most = consumer.most
        self._call = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream.name}.{consumer.name}".encode()
        self._generation += 1
        self.coming = 0
        receive = partial(self._receive, self._generation)
        before = self._interest
        self._interest = await self._connection.subscribe(f"{self._inbox}.{self._generation}.*", "", receive)
        if before is not None:
            await self._connection.unsubscribe(before)
            await self._look(consumer.stream.name, consumer.name)
        self.gone = False
        self._ready = True

    async def aclose(self, consumer: Consumer) -> None:
        """Take nothing more; once this has returned, nothing comes."""
        self._ready = False
        if self._interest is not None:
            with suppress(PabalError):
                await self._connection.unsubscribe(self._interest)
                if self._connection.is_connected:
                    await self._look(consumer.stream.name, consumer.name)

    def _receive(self, generation: int, received: Received) -> None:
        if received.reply:
            if generation == self._generation:
                if self.coming:
                    self.coming -= 1
                self._heard = asyncio.get_running_loop().time()
            self._take(received)
            return
        if generation != self._generation:
            return
        self._heard = asyncio.get_running_loop().time()
        headers = received.headers
        status = headers.get(STATUS)
        if status == _HEARTBEAT_CODE:
            return
        left = headers.get("Nats-Pending-Messages", "")
        if status in _OVER and left.isdecimal() and len(left) < _DIGITS:
            self.coming = max(0, self.coming - int(left))
            self._over()
            return
        self._ready = False
        self.gone = status not in _OVER
        self._disturbed()
