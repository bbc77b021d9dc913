"""What is read from Redis's own channels over one connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import ReplyError

from pabal.model.errors import ConnectionFailed
from pabal.transports.redis.commands import packed, refusal
from pabal.transports.redis.line import Line
from pabal.transports.redis.server import Server

Receive = Callable[[list[tuple[bytes, bytes]]], None]
"""Is called in the event loop with all that came at once: Redis channels, and what was published there."""

_PING = packed((b"PING",))
_CHANNEL, _PATTERN = b"message", b"pmessage"


class _Change:
    """A command that subscribes or unsubscribes, until each name is acknowledged; `done` None: after a reconnection."""

    __slots__ = ("missing", "done")

    def __init__(self, missing: int, done: asyncio.Future[None] | None) -> None:
        self.missing = missing
        self.done = done


class Interest(Line):
    """Redis channels and patterns that are read, and read again after each reconnection.

    `again` is called after a reconnection, when all is read again. What a pattern takes of channels that begin with
    `hidden` is left out.
    """

    def __init__(
        self,
        server: Server,
        *,
        name: str,
        receive: Receive,
        again: Callable[[], None] | None = None,
        hidden: str | None = None,
    ) -> None:
        super().__init__(server, name=name)
        self._receive = receive
        self._again = again
        self._hidden = () if hidden is None else (hidden.encode(),)
        self._channels: dict[str, None] = {}
        self._patterns: dict[str, None] = {}
        self._changes: deque[_Change] = deque()

    async def add(self, channels: Sequence[str], patterns: Sequence[str] = ()) -> None:
        """Read these too; once this has returned, no later publish is missed. Raises ConnectionFailed.

        They are sent as one, and the server takes nothing in between.
        """
        await self.ready()
        self._channels.update(dict.fromkeys(channels))
        self._patterns.update(dict.fromkeys(patterns))
        await self._change((b"SUBSCRIBE", channels), (b"PSUBSCRIBE", patterns))

    async def remove(self, channels: Sequence[str], patterns: Sequence[str] = ()) -> None:
        """Read these no more; once this has returned, nothing comes. Raises ConnectionFailed."""
        for name in channels:
            self._channels.pop(name, None)
        for name in patterns:
            self._patterns.pop(name, None)
        if self._working.is_set() and not self._closed:
            await self._change((b"PUNSUBSCRIBE", patterns), (b"UNSUBSCRIBE", channels))

    async def _change(self, *commands: tuple[bytes, Sequence[str]]) -> None:
        changes = [self._begin(verb, names) for verb, names in commands if names]
        await asyncio.gather(*changes)

    def _begin(self, verb: bytes, names: Sequence[str]) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.append(_Change(len(names), done))
        self.write(packed((verb, *names)))
        return done

    def _take(self, replies: list[Any]) -> None:
        came = []
        for reply in replies:
            if type(reply) is list:
                kind = reply[0]
                if kind == _CHANNEL:
                    came.append((reply[1], reply[2]))
                elif kind == _PATTERN:
                    if not reply[2].startswith(self._hidden):
                        came.append((reply[2], reply[3]))
                elif kind != b"pong":
                    self._changed(None)
            elif isinstance(reply, ReplyError):
                self._changed(reply)
        if came:
            self._receive(came)

    def _changed(self, error: ReplyError | None) -> None:
        change = self._changes[0]
        change.missing -= 1
        if change.missing and error is None:
            return
        self._changes.popleft()
        if change.done is None:
            self._resubscribed(error)
        elif change.done.done():
            return
        elif error is None:
            change.done.set_result(None)
        else:
            change.done.set_exception(refusal(error, self.server))

    def _resubscribed(self, error: ReplyError | None) -> None:
        if error is not None:
            self.hang_up(str(refusal(error, self.server)))
        elif all(each.done is not None for each in self._changes):
            self._restored()
            if self._again is not None:
                self._again()

    def _restore(self) -> None:
        for verb, names in ((b"SUBSCRIBE", self._channels), (b"PSUBSCRIBE", self._patterns)):
            if names:
                self._changes.append(_Change(len(names), None))
                self.write(packed((verb, *names)))
        if not self._changes:
            self._restored()

    def _broke(self, error: ConnectionFailed) -> None:
        broken, self._changes = self._changes, deque()
        for change in broken:
            if change.done is not None and not change.done.done():
                change.done.set_exception(error)

    def _ping(self) -> None:
        self.write(_PING)
