"""The way back of requests: Redis channels that one connection reads, and nobody else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from pabal.model.clock import Clock, utc
from pabal.model.cloudevents import to_structured
from pabal.model.message import Message
from pabal.transports.redis.commands import Commands
from pabal.transports.redis.interest import Interest
from pabal.transports.redis.names import Names
from pabal.transports.redis.wire import taken


class Answers:
    """Takes answers and sends them, whatever the requests came by."""

    def __init__(self, commands: Commands, names: Names, *, clock: Clock) -> None:
        self._commands = commands
        self._address = names.replies(secrets.token_hex(12))
        self._clock = clock
        self._interest: Interest | None = None
        self._hand_over: Callable[[str, Message | None], None] | None = None
        self._opening = asyncio.Lock()

    async def open(self, receive: Callable[[str, Message | None], None]) -> str:
        """Begin to take answers; returns the address that theirs begin with."""
        async with self._opening:
            self._hand_over = receive
            if self._interest is None:
                interest = Interest(self._commands.server, name="answers", receive=self._receive)
                try:
                    await interest.open()
                    # A plain client answers by publishing on what the request names, too.
                    await interest.add((), [f"{self._address}.*"])
                except BaseException:
                    await interest.aclose()
                    raise
                self._interest = interest
        return self._address

    async def reply(self, answer: Message) -> None:
        """Send an answer to the Redis channel that the request named."""
        await self._commands.call(b"PUBLISH", answer.channel, to_structured(answer))

    async def aclose(self) -> None:
        """Take no more."""
        if self._interest is not None:
            await self._interest.aclose()

    def _receive(self, came: list[tuple[bytes, bytes]]) -> None:
        assert self._hand_over is not None  # noqa: S101 - or nothing is read
        now = utc(self._clock.time())
        for channel, payload in came:
            reply_to = channel.decode(errors="replace")
            answer, _ = taken(reply_to, payload, arrived=now)
            self._hand_over(reply_to, answer)
