"""Publishing with the knowledge of whether anybody is there."""

from __future__ import annotations

from collections.abc import Sequence

from pabal.model.errors import (
    CapabilityError,
    ConnectionFailed,
    MessageTooLarge,
    PabalError,
    PublishError,
    PublishTimeout,
)
from pabal.model.transport import Post, Receipt
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.received import Received, is_nobody
from pabal.transports.nats.subjects import PROBE, Subjects
from pabal.transports.nats.wire import encoded, frame

_AT_ONCE = 1_000
"""Pieces that are sent before the socket is waited for, and bytes."""
_PIECE = 256 * 1024


class Publishing:
    """Sends messages with a private reply subject: the server answers there at once when nobody is subscribed.

    Those answers come before our own message that is sent after them, which is how their absence is known.
    """

    def __init__(self, connection: Connection, subjects: Subjects, *, max_body: int) -> None:
        self._connection = connection
        self._subjects = subjects
        self._max_body = max_body
        self._probe = connection.branch(PROBE, self._nobody)
        self._batches: dict[str, set[int]] = {}
        self._forbidden: dict[str, set[str]] = {}
        self._number = 0
        connection.watch_refusals(self._forbid)

    async def publish(self, posts: Sequence[Post]) -> Sequence[Receipt]:
        """Send messages in order; returns once the server has them, or has told that it takes none.

        Raises ConnectionFailed when none of them was sent.
        """
        await self._connection.roomy()
        losses = self._connection.losses
        batch = str(self._number)
        self._number += 1
        nobody = self._batches[batch] = set()
        forbidden = self._forbidden[batch] = set()
        refused: dict[int, Receipt] = {}
        frames: list[bytes] = []
        size = 0
        sent = False
        try:
            for index, post in enumerate(posts):
                try:
                    frames += self._frame(post, f"{self._probe}.{batch}.{index}")
                except PabalError as error:
                    refused[index] = Receipt(post.message.id, error=error)
                    continue
                sent = True
                size += len(post.message.body)
                if len(frames) > _AT_ONCE or size > _PIECE:
                    self._connection.write(b"".join(frames))
                    frames.clear()
                    size = 0
                    await self._connection.flow()
            if sent:
                await self._connection.answered(b"".join(frames), "", b"", losses=losses)
        except ConnectionFailed as error:
            unknown = PublishTimeout(f"the connection was lost, and what was sent may or may not be there: {error}")
            return [refused.get(index) or Receipt(post.message.id, error=unknown) for index, post in enumerate(posts)]
        finally:
            del self._batches[batch], self._forbidden[batch]
        for index, post in enumerate(posts if forbidden else ()):
            if self._subjects.of(post.message.channel).lower() in forbidden:
                refused[index] = Receipt(post.message.id, error=not_allowed(self._subjects.of(post.message.channel)))
        if not refused and not nobody:
            return [Receipt(post.message.id, True) for post in posts]
        return [refused.get(index) or Receipt(post.message.id, index not in nobody) for index, post in enumerate(posts)]

    def _frame(self, post: Post, reply: str) -> tuple[bytes, ...]:
        """A post as the client sends it; raises CodecError, MessageTooLarge and CapabilityError."""
        message = post.message
        if post.due is not None:
            raise CapabilityError("NATS keeps no message for later")
        headers = encoded(post)
        if len(message.body) > self._max_body or len(headers) + len(message.body) > self._connection.max_payload:
            raise MessageTooLarge(f"the body has {len(message.body)} bytes; {self._max_body} are the most here")
        return frame(self._subjects.of(message.channel), reply, headers, message.body)

    def _forbid(self, subject: str) -> None:
        for forbidden in self._forbidden.values():
            forbidden.add(subject)

    def _nobody(self, received: Received) -> None:
        if not is_nobody(received):
            return  # somebody took the reply subject for a request's
        batch, _, index = received.subject[len(self._probe) + 1 :].partition(".")
        nobody = self._batches.get(batch)
        if nobody is not None and index.isdigit():
            nobody.add(int(index))


def not_allowed(subject: str) -> PublishError:
    """What the server refuses to who has connected."""
    return PublishError(f"this user is not allowed to publish to {subject}")
