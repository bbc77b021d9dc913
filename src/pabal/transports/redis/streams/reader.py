"""Waiting for entries, on a connection of its own, since the server lets whoever waits do nothing else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from pabal.model.errors import ConfigurationError
from pabal.transports.redis.commands import Commands, Word

_PATIENCE = 0.01
"""Seconds after which a wait is ended again: the server may not have begun it at the first time."""


class Reader:
    """Sends one reading command at a time; whoever is in a hurry ends the wait at the server, never here."""

    def __init__(self, commands: Commands, *, name: str) -> None:
        self._commands = commands
        self._line = Commands(commands.server, name=name)
        self._connection = 0
        self._id: int | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def open(self) -> None:
        """Connect; raises ConnectionFailed."""
        await self._line.open()

    async def read(self, words: tuple[Word, ...]) -> Any:
        """The reply to a reading command. Raises ConnectionFailed: what was read then may be lost on its way."""
        await self._line.ready()
        self._idle.clear()
        try:
            if self._connection != self._line.connections:
                self._id, self._connection = None, self._line.connections
                try:
                    self._id = await self._line.call("CLIENT", "ID")
                except ConfigurationError:  # we may not know it
                    self._id = None
            return await self._line.call(*words)
        finally:
            self._idle.set()

    async def interrupt(self) -> None:
        """Return once nothing is read. Raises ConnectionFailed."""
        while not self._idle.is_set():
            try:
                if self._id is not None:
                    await self._commands.call("CLIENT", "UNBLOCK", self._id)
            except ConfigurationError:  # we may not, and wait until it ends by itself
                await self._idle.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._idle.wait()
                return

    async def aclose(self) -> None:
        """Disconnect."""
        await self._line.aclose()
