"""One listener's part in a stream: a group of its own, which remembers how far it has read and nothing more."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from pabal.model.outcome import Settlement
from pabal.model.transport import Settled
from pabal.transports.redis.commands import Commands, Script, Word
from pabal.transports.redis.streams.entries import Entry, Token
from pabal.transports.redis.streams.keys import LISTENER, StreamKeys

log = logging.getLogger("pabal.redis")

_LISTEN, _DEAFEN = Script("listen"), Script("deafen")

HEARD = 60.0
"""Seconds for which a listener is there without a sign of life: so long a dead one keeps entries in its stream."""


class Listener:
    """A private copy of what is added from now on."""

    lease: float | None = None

    def __init__(self, commands: Commands, keys: StreamKeys) -> None:
        self.keys = keys
        self._commands = commands
        self._name = LISTENER + secrets.token_hex(8)
        self._both = (keys.stream, keys.listeners)

    async def join(self) -> bool:
        """Be there, or be there for longer; returns whether it was not. Raises ConfigurationError for a wrong key."""
        return bool(await self._commands.run(_LISTEN, self._both, (self._name, int(HEARD * 1000))))

    def reading(self, count: int, block: int) -> tuple[Word, ...]:
        """The command that reads up to `count` entries, and waits `block` milliseconds for the first."""
        words = ("XREADGROUP", "GROUP", self._name, "listener", "COUNT", count, "BLOCK", block)
        return (*words, "NOACK", "STREAMS", self.keys.stream, ">")

    def read(self, reply: list[Any]) -> list[Entry]:
        """The entries of such a command's reply."""
        return [Entry(Token(1, id, 1), fields or []) for _, entries in reply for id, fields in entries]

    async def settle(self, settled: Sequence[Settled]) -> list[Settlement]:
        """Nothing is settled here: a copy is done when it is read."""
        return [Settlement.DONE] * len(settled)

    async def give_back(self, tokens: Sequence[Token]) -> None:
        """Nobody else would have a private copy."""

    async def extend(self, tokens: Sequence[Token]) -> list[bool]:
        """Nothing runs out here."""
        return [True] * len(tokens)

    async def take_over(self, most: int) -> list[Entry]:
        """Be heard of; nobody else's copies are taken."""
        del most
        if await self.join():
            log.warning("%s: a listener was taken for dead, and has missed what was published since", self.keys.channel)
        return []

    async def recover(self, known: Collection[Token] = ()) -> None:
        """What was lost on its way is lost."""

    async def leave(self) -> None:
        """Be forgotten by the server. Raises ConnectionFailed."""
        await self._commands.run(_DEAFEN, self._both, (self._name,))
