"""Adding messages to streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from hiredis import ReplyError

from pabal.model.clock import Clock
from pabal.model.errors import (
    ConfigurationError,
    ConnectionFailed,
    MessageTooLarge,
    PabalError,
    PublishTimeout,
)
from pabal.model.message import new_id
from pabal.model.transport import Post, Receipt
from pabal.transports.redis.commands import Commands, Script, Word, refusal
from pabal.transports.redis.streams.entries import fields
from pabal.transports.redis.streams.keys import StreamKeys
from pabal.transports.redis.streams.mover import Place

_LATER = Script("later")


class Adding:
    """Adds each message to its channel's stream, or to the side stream of the one group that it is for."""

    def __init__(
        self,
        commands: Commands,
        prefix: str,
        *,
        max_body: int,
        clock: Clock,
        expect: Callable[[Place, float], None],
    ) -> None:
        self._commands = commands
        self._keys = lru_cache(maxsize=4096)(lambda channel: StreamKeys(prefix, channel))
        self._max_body = max_body
        self._clock = clock
        self._expect = expect

    async def publish(self, posts: Sequence[Post]) -> Sequence[Receipt]:
        """Add messages in order, all in one go. Raises ConnectionFailed when none of them was sent."""
        await self._commands.roomy()
        receipts: list[Receipt | None] = [None] * len(posts)
        sending: list[int] = []
        commands: list[tuple[Word, ...]] = []
        waits: list[tuple[Place, float]] = []
        for index, post in enumerate(posts):
            try:
                commands.append(self._command(post, waits))
                sending.append(index)
            except PabalError as error:
                receipts[index] = Receipt(post.message.id, error=error)
        if commands:
            try:
                replies = await self._commands.calls(commands)
            except ConnectionFailed as error:
                replies = [PublishTimeout(f"it may or may not have been added: {error}")] * len(commands)
            for index, reply in zip(sending, replies, strict=True):
                receipts[index] = self._receipt(posts[index], reply)
            for place, wait in waits:
                self._expect(place, wait)
        return [receipt for receipt in receipts if receipt is not None]

    def _command(self, post: Post, waits: list[tuple[Place, float]]) -> tuple[Word, ...]:
        message, group = post.message, post.group
        if len(message.body) > self._max_body:
            raise MessageTooLarge(f"the body has {len(message.body)} bytes; {self._max_body} are the most (max_body=)")
        keys: StreamKeys = self._keys(message.channel if group is None else group.source)
        words = fields(post)
        wait = 0.0 if post.due is None else post.due - self._clock.time()
        if wait > 0:
            there: tuple[str, ...] = ()
            place = (keys.later, keys.waiting, keys.stream)
            if group is not None:
                place = (keys.later_of(group.name), keys.waiting_of(group.name), keys.side(group.name))
                there = place[2:]
            waits.append((place, wait))
            milliseconds = int(wait * 1000 + 0.999)
            return (b"EVAL", _LATER.text, 2 + len(there), *place[:2], *there, milliseconds, new_id(), *words)
        if group is not None:
            return (b"XADD", keys.side(group.name), b"NOMKSTREAM", b"*", *words)
        return (b"XADD", keys.stream, b"*", *words)

    def _receipt(self, post: Post, reply: object) -> Receipt:
        error: PabalError | None = None
        if isinstance(reply, ReplyError):
            error = refusal(reply, self._commands.server)
        elif isinstance(reply, PabalError):
            error = reply
        elif not reply:
            error = ConfigurationError(f"there is no group {post.group}")
        return Receipt(post.message.id, error=error)
