"""Taking part in a source on Pub/Sub, where the server knows no groups: every member reads all, and one claims each."""

from __future__ import annotations

import secrets
from contextlib import suppress

from pabal.model.errors import PabalError
from pabal.model.names import is_pattern
from pabal.model.transport import Source
from pabal.transports.redis.commands import Commands, Script, Word
from pabal.transports.redis.names import Names
from pabal.transports.redis.wire import identity

_CLAIM, _FORGET = Script("claim"), Script("forget")

_LEAD = 10
"""Seconds for which what has no id goes to one member, unless its connection breaks before."""

_OURS = ord("1")


class Membership:
    """One reader's part in its source, and in its group.

    Attributes:
        channels: the Redis channels that the reader has to read.
        globs: the Redis patterns that it has to read.
        registered: whether publishers know of it.
        is_known: whether publishers have to know of it, as of all but who listens to one channel.
    """

    def __init__(self, commands: Commands, names: Names, source: Source, *, seconds: int) -> None:
        self._commands = commands
        self._names = names
        self._source, self._group = source.channel, source.group or ""
        self._pattern = is_pattern(source.channel)
        self._token = secrets.token_hex(12)
        self._seconds = seconds
        self._number = 0
        self._own = names.group(self._source, self._group)
        self._claims = names.claims(self._source, self._group)
        self._lead = names.lead(self._source, self._group)
        self.channels = [names.pattern(self._source) if self._pattern else names.channel(self._source)]
        if self._group:
            self.channels += [self._own, names.members + self._token]
        self.registered = False
        self.is_known = bool(self._group) or self._pattern
        self.globs = [names.glob(self._source)] if self._pattern else []

    async def register(self) -> None:
        """Have publishers count what is read as it is meant. Raises ConnectionFailed and ConfigurationError."""
        if self._group:
            await self._commands.call(b"SADD", self._names.groups(self._source), self._group)
        if self._pattern:
            await self._commands.call(b"SADD", self._names.patterns, self._source)
        self.registered = True

    async def forget(self) -> None:
        """Leave nothing behind, once nothing more is read."""
        if not self.is_known:
            return
        keys = (self._lead, self._names.groups(self._source), self._names.patterns)
        own = (self._token, self._group, self._own, self._source, self._names.pattern(self._source))
        with suppress(PabalError):
            await self._commands.run(_FORGET, keys, own)

    def next_claim(self) -> bytes:
        """A token for the claims of one batch, to be given again when their answer was lost."""
        self._number += 1
        return f"{self._token}:{self._number}".encode()

    async def claim(self, payloads: list[bytes], token: bytes) -> list[bool]:
        """Which of these are ours to handle; raises ConnectionFailed and ConfigurationError."""
        arguments: list[Word] = [self._seconds, _LEAD, self._names.members, self._token, token]
        arguments += map(identity, payloads)
        answers = await self._commands.run(_CLAIM, (self._claims, self._lead), arguments)
        return [answer == _OURS for answer in answers]
