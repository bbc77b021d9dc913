"""Taking out of streams what all their groups have done."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.transports.redis.commands import Commands, Script, Word
from pabal.transports.redis.streams.keys import LISTENER, StreamKeys

log = logging.getLogger("pabal.redis")

_TRIM = Script("trim")

_EVERY = 1.0
"""Seconds between two looks at streams where something was done."""

_FAREWELL = 2.0


class Trimmer:
    """Looks after the streams in which something was done here, all of them at once and not after each message."""

    def __init__(self, commands: Commands, prefix: str, *, keep: float) -> None:
        self._commands = commands
        self._prefix = prefix
        self._keep = int(keep * 1000)
        self._done: set[str] = set()
        self._told: set[str] = set()
        self._something = asyncio.Event()
        self._trimming: asyncio.Task[None] | None = None

    def done(self, channel: str) -> None:
        """Something of this channel was done."""
        if channel not in self._done:
            self._done.add(channel)
            self._something.set()
            if self._trimming is None:
                self._trimming = asyncio.get_running_loop().create_task(self._trim(), name="pabal redis: trimming")

    async def trim(self, channel: str, *, done: Word = "") -> None:
        """Take out what all groups have done, as had one that is removed now up to the entry `done`.

        Raises ConnectionFailed.
        """
        keys = StreamKeys(self._prefix, channel)
        await self._commands.run(_TRIM, (keys.stream, keys.listeners), (self._keep, LISTENER, done))

    async def aclose(self) -> None:
        """Take out what is done by now, then no more."""
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.wait([self._trimming])
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self._trim_done()

    async def _trim(self) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(_EVERY)
            self._something.clear()
            await self._trim_done()

    async def _trim_done(self) -> None:
        done, self._done = self._done, set()
        for channel in done:
            try:
                await self.trim(channel)
            except ConnectionFailed:
                self.done(channel)
            except ConfigurationError as error:
                if channel not in self._told:
                    log.warning("%s: its stream cannot be trimmed, and grows: %s", channel, error)
                self._told.add(channel)
