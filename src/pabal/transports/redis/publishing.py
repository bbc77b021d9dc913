"""Publishing on Redis's own channels."""

from __future__ import annotations

from collections.abc import Sequence

from hiredis import ReplyError

from pabal.model.errors import (
    CapabilityError,
    CodecError,
    ConnectionFailed,
    MessageTooLarge,
    PabalError,
    PublishTimeout,
)
from pabal.model.transport import Post, Receipt
from pabal.transports.redis.commands import Commands, Script, Word, refusal
from pabal.transports.redis.names import Names
from pabal.transports.redis.wire import payload

_PUBLISH = Script("publish")

_MOST_BYTES = 8 * 1024 * 1024
"""What goes to the server at most in one step, which holds up everybody else there."""


class Publishing:
    """Sends messages, and learns how many groups and listeners got each."""

    def __init__(self, commands: Commands, names: Names, *, max_body: int) -> None:
        self._commands = commands
        self._names = names
        self._max_body = max_body

    async def publish(self, posts: Sequence[Post]) -> Sequence[Receipt]:
        """Send messages in order. Raises ConnectionFailed when none of them was sent."""
        await self._commands.roomy()
        receipts: list[Receipt | None] = [None] * len(posts)
        sending: list[int] = []
        words: list[Word] = []
        size = 0
        for index, post in enumerate(posts):
            written = self._written(post)
            if isinstance(written, PabalError):
                receipts[index] = Receipt(post.message.id, error=written)
                continue
            if sending and size + len(written) > _MOST_BYTES:
                await self._send(posts, sending, words, receipts)
                sending, words, size = [], [], 0
            sending.append(index)
            group = post.group
            if group is None:
                words += (self._names.channel(post.message.channel), post.message.channel, written)
            else:
                words += (self._names.group(group.source, group.name), "", written)
            size += len(written)
        if sending:
            await self._send(posts, sending, words, receipts)
        return [receipt for receipt in receipts if receipt is not None]

    def _written(self, post: Post) -> bytes | PabalError:
        if post.due is not None:
            return CapabilityError("Redis keeps no message on Pub/Sub for later; use redis+streams://")
        if len(post.message.body) > self._max_body:
            return MessageTooLarge(
                f"the body has {len(post.message.body)} bytes; {self._max_body} are the most here (max_body=)"
            )
        try:
            return payload(post)
        except CodecError as error:
            return error

    async def _send(
        self, posts: Sequence[Post], sending: list[int], words: list[Word], receipts: list[Receipt | None]
    ) -> None:
        """Send some of `posts`, and fill in their receipts."""
        try:
            counts = await self._commands.run(_PUBLISH, (), (self._names.ours, *words))
        except ConnectionFailed as error:
            unknown = PublishTimeout(f"it may or may not have been sent: {error}")
            counts = [unknown] * len(sending)
        for index, count in zip(sending, counts, strict=True):
            id = posts[index].message.id
            if isinstance(count, int):
                receipts[index] = Receipt(id, count > 0, count)
            else:
                refused = refusal(count, self._commands.server) if isinstance(count, ReplyError) else count
                receipts[index] = Receipt(id, error=refused)
