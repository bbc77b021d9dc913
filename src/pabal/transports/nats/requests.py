"""Requests over NATS: the answer comes to a private subject, and so does the word that nobody is there."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pabal.model.clock import Clock
from pabal.model.errors import MessageTooLarge, PabalError
from pabal.model.message import Message
from pabal.model.transport import Post, Receipt
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.received import Received, is_nobody
from pabal.transports.nats.wire import encoded, frame, message_of


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """How a stream of JetStream answers whatever comes on its subjects with a reply subject."""

    stream: str
    seq: int
    duplicate: bool = False
    domain: str = ""
    val: str = ""
    batch: str = ""
    count: int = 0


_read_stored = msgspec.json.Decoder(_Stored).decode


class Requesting:
    """Asks and answers over one connection."""

    def __init__(self, connection: Connection, *, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def replies(self, receive: Callable[[str, Message | None], None]) -> str:
        """The way back: a branch of this connection's private inbox."""

        def answered(received: Received) -> None:
            if _is_stored(received):
                return  # whoever answers the request is still to come
            receive(received.subject, None if is_nobody(received) else self._message(received))

        return self._connection.branch("r", answered)

    async def request(self, subject: str, message: Message) -> Receipt:
        """Send a request; that nobody is there comes by the way back."""
        assert message.reply_to is not None  # noqa: S101 - or it is no request
        await self._connection.roomy()
        try:
            self._write(subject, message.reply_to, message)
        except PabalError as error:
            return Receipt(message.id, error=error)
        return Receipt(message.id)

    async def reply(self, answer: Message) -> None:
        """Send an answer to the subject that the request named."""
        await self._connection.roomy()
        self._write(answer.channel, "", answer)

    def _write(self, subject: str, reply: str, message: Message) -> None:
        headers = encoded(Post(message))
        if len(headers) + len(message.body) > self._connection.max_payload:
            raise MessageTooLarge(
                f"the body has {len(message.body)} bytes; the server takes {self._connection.max_payload} with headers"
            )
        self._connection.write(b"".join(frame(subject, reply, headers, message.body)))

    def _message(self, received: Received) -> Message:
        return message_of(received.subject, received, self._clock)


def _is_stored(received: Received) -> bool:
    if received.raw:
        return False
    try:
        _read_stored(received.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
