"""One connection to a Redis that comes back by itself."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any, NoReturn

import hiredis

from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.transports.redis.server import BROKEN, Server, Wire, hang_up, text_of

BEAT = 5.0
"""Seconds after which the server is asked for a sign of life."""

_LONGEST_SILENCE = 12.0
"""Seconds without a byte from the server after which a connection counts as lost."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_CHUNK = 64 * 1024
_NOTHING = object()


class Line:
    """What is sent to the server and read from it, in order; a subclass says what that is.

    One task reads all that comes: nobody who waits for an answer can cancel the reading of another's. `connections`
    counts those that it has had.
    """

    def __init__(self, server: Server, *, name: str) -> None:
        self.server = server
        self.connections = 0
        self._name = name
        self._wire: Wire | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._out: list[bytes] = []
        self._working = asyncio.Event()
        self._running: asyncio.Task[NoReturn] | None = None
        self._heard = 0.0
        self._given_up = ""
        self._beating: asyncio.TimerHandle | None = None
        self._closed = False

    async def open(self) -> None:
        """Connect; raises ConnectionFailed and ConfigurationError."""
        if self._closed:
            raise ConnectionFailed(f"{self.server} is closed")
        wire = await self.server.connect()
        if self._closed:
            await hang_up(wire)
            raise ConnectionFailed(f"{self.server} is closed")
        self.server.serves(self)
        self._take_up(wire)
        self._running = asyncio.get_running_loop().create_task(self._run(wire), name=f"pabal redis: {self._name}")
        await self.ready()

    async def ready(self) -> None:
        """Return once there is a connection; raises ConnectionFailed when there will not be one again."""
        while not self._working.is_set() and not self._closed and self._running is not None:
            await self._working.wait()
        if self._closed or self._running is None:
            raise ConnectionFailed(f"{self.server} is not open")

    async def roomy(self) -> None:
        """Return once there is a connection that has sent most of what it was given."""
        await self.ready()
        while (writer := self._writer) is not None and writer.transport.get_write_buffer_size() > _CHUNK:
            with suppress(OSError):
                await writer.drain()
            await self.ready()

    def write(self, packed: bytes) -> None:
        """Send this, together with whatever else is sent in this turn of the loop."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(packed)

    def hang_up(self, why: str) -> None:
        """Give the connection up; it is made anew."""
        self._given_up = why
        if self._writer is not None:
            self._writer.transport.abort()

    async def aclose(self) -> None:
        """Disconnect. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._flush()
        self._working.set()
        self._broke(ConnectionFailed(f"{self.server} is closed"))
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        if self._wire is not None:
            await hang_up(self._wire)
        self.server.forget(self)

    def _take(self, replies: list[Any]) -> None:
        """What came."""
        raise NotImplementedError

    def _restore(self) -> None:
        """Send again what the server has to know of a new connection, then say `_restored`."""
        self._restored()

    def _broke(self, error: ConnectionFailed) -> None:
        """What was on its way is gone."""

    def _ping(self) -> None:
        """Ask for a sign of life, unless one is to come anyway."""
        raise NotImplementedError

    def _restored(self) -> None:
        self._working.set()
        self.server.back(self)

    def _flush(self) -> None:
        if self._out and self._writer is not None:
            self._writer.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out.clear()

    def _take_up(self, wire: Wire) -> None:
        self._wire, self._writer = wire, wire.writer
        self._heard = asyncio.get_running_loop().time()
        self._given_up = ""
        self._out.clear()
        self.connections += 1
        self._restore()

    async def _run(self, wire: Wire) -> NoReturn:
        while True:
            why = await self._read(wire)
            self._working.clear()
            self._writer = None
            self._broke(ConnectionFailed(f"{self.server}: the connection was lost: {why}"))
            self.server.lost(self, why)
            await hang_up(wire)
            wire = await self._reconnect()
            self._take_up(wire)

    async def _read(self, wire: Wire) -> str:
        """Hand over what comes until the connection breaks; returns why it did."""
        parser = hiredis.Reader(notEnoughData=_NOTHING)
        read, feed, next_reply = wire.reader.read, parser.feed, parser.gets
        loop = asyncio.get_running_loop()
        self._beat(loop.time())
        try:
            while data := await read(_CHUNK):
                self._heard = loop.time()
                feed(data)
                replies = []
                while (reply := next_reply()) is not _NOTHING:
                    replies.append(reply)
                if replies:
                    self._take(replies)
        except BROKEN as error:
            return self._given_up or text_of(error)
        finally:
            if self._beating is not None:
                self._beating.cancel()
        return self._given_up or "the server closed it"

    def _beat(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - due > 1.0:
            self._heard = now  # it was this process that stood still; what came meanwhile is not read yet
        if now - self._heard > _LONGEST_SILENCE:
            self.hang_up(f"no sign of life for {now - self._heard:.0f} s")
            return
        if self._working.is_set():
            self._ping()
        self._beating = loop.call_later(BEAT, self._beat, now + BEAT)

    async def _reconnect(self) -> Wire:
        pause = _FIRST_PAUSE
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                return await self.server.connect()
            except (ConnectionFailed, ConfigurationError) as error:
                self.server.still_lost(str(error))
