"""Commands to a server, many at a time, each with its reply."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, cast

import hiredis
from hiredis import ReplyError

from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.transports.redis.line import Line

Word = bytes | str | int | float

packed: Callable[[tuple[Word, ...]], bytes] = cast(Any, hiredis.pack_command)
"""A command as the server reads it."""

_PING, _ROLE = packed((b"PING",)), packed((b"ROLE",))


class Script:
    """A Lua script, which runs on the server as one step."""

    def __init__(self, name: str) -> None:
        self.text = files("pabal.transports.redis").joinpath("lua", f"{name}.lua").read_bytes()
        self.sha = sha1(self.text, usedforsecurity=False).hexdigest().encode()


class _Batch:
    """Commands that were sent together, and what was answered so far."""

    __slots__ = ("missing", "replies", "answered")

    def __init__(self, missing: int, answered: asyncio.Future[list[Any]] | None) -> None:
        self.missing = missing
        self.replies: list[Any] = []
        self.answered = answered


class Commands(Line):
    """Sends commands as they come, without waiting for the replies of those before."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unanswered: deque[_Batch] = deque()
        self._sign = _ROLE

    async def call(self, *words: Word) -> Any:
        """One command; returns its reply. Raises ConnectionFailed, ConfigurationError where the server refuses it."""
        (reply,) = await self.calls((words,))
        if isinstance(reply, ReplyError):
            raise refusal(reply, self.server)
        return reply

    async def calls(self, commands: Sequence[tuple[Word, ...]]) -> list[Any]:
        """Several commands in one go; returns a reply each, or the error that the server answered.

        Raises ConnectionFailed when the connection is lost meanwhile: some may have been done then.
        """
        await self.roomy()
        answered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        alone = not self._unanswered
        self._unanswered.append(_Batch(len(commands), answered))
        self.write(b"".join([packed(words) for words in commands]))
        if alone:
            self._flush()  # nobody else is about to send anything, as far as one can tell
        return await answered

    async def run(self, script: Script, keys: Sequence[Word], arguments: Sequence[Word]) -> Any:
        """Run a script; raises as `call`."""
        words = (len(keys), *keys, *arguments)
        (reply,) = await self.calls(((b"EVALSHA", script.sha, *words),))
        if isinstance(reply, ReplyError):
            if not str(reply).startswith("NOSCRIPT"):
                raise refusal(reply, self.server)
            return await self.call(b"EVAL", script.text, *words)
        return reply

    def _take(self, replies: list[Any]) -> None:
        unanswered = self._unanswered
        for reply in replies:
            batch = unanswered[0]
            batch.replies.append(reply)
            batch.missing -= 1
            if type(reply) is ReplyError and str(reply).startswith("READONLY"):
                self.server.demoted()
            if not batch.missing:
                unanswered.popleft()
                if batch.answered is None:
                    self._take_sign(reply)
                elif not batch.answered.done():
                    batch.answered.set_result(batch.replies)

    def _take_sign(self, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            self._sign = _PING  # it does not tell us what it is
        elif type(reply) is list and reply[0] == b"slave":
            self.server.demoted()

    def _broke(self, error: ConnectionFailed) -> None:
        broken, self._unanswered = self._unanswered, deque()
        for batch in broken:
            if batch.answered is not None and not batch.answered.done():
                batch.answered.set_exception(error)

    def _ping(self) -> None:
        if not self._unanswered:
            self._unanswered.append(_Batch(1, None))
            self.write(self._sign)


def refusal(reply: ReplyError, server: object) -> ConfigurationError | ConnectionFailed:
    """What the server refused, as an error of ours."""
    text = " ".join(str(reply).split())
    if text.startswith(("NOPERM", "WRONGTYPE")):
        return ConfigurationError(f"{server}: {text}")
    return ConnectionFailed(f"{server}: {text}")
