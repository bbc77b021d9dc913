"""Publishing into streams: every message is sent at once, and each is answered for by the server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from pabal.model.errors import MessageTooLarge, PabalError, PublishError, PublishTimeout
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.publishing import not_allowed
from pabal.transports.nats.received import Received, is_nobody
from pabal.transports.nats.wire import frame

_MOST_AT_ONCE = 4_000
"""Messages on their way to the server; it refuses what is more than it has room for."""
_TOO_LARGE = (10054, 10097, 10124)
"""Codes for a message, and for headers, that are larger than a stream takes them."""


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class Stored(msgspec.Struct):
    """The server's answer: where a message is now, or that it was there already."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _Error | None = None


class NoStream(PublishError):
    """No stream keeps the subject."""


Outcome = Stored | PabalError

_read = msgspec.json.Decoder(Stored).decode


class _Batch:
    """What is sent together, and what became of each of it."""

    __slots__ = ("left", "messages", "outcomes", "over")

    def __init__(self, messages: Sequence[tuple[str, bytes, bytes]]) -> None:
        self.messages = messages
        self.left = len(messages)
        self.outcomes: list[Outcome | None] = [None] * len(messages)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, at: int, outcome: Outcome) -> None:
        """Note what became of a message, if it is known for the first time."""
        if self.outcomes[at] is not None:
            return
        self.outcomes[at] = outcome
        self.left -= 1
        if not self.left and not self.over.done():
            self.over.set_result(None)


class Storing:
    """Sends messages to subjects of streams and waits for the server's answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = connection.branch("k", self._receive)
        self._start = len(self._inbox) + 1
        self._batches: dict[str, _Batch] = {}
        self._number = 0
        self._on_the_way = 0
        self._room: asyncio.Event = asyncio.Event()
        self._room.set()
        connection.watch(self._lost)
        connection.watch_refusals(self._forbid)

    @property
    def room(self) -> int:
        """Bytes that the server takes for one message, its headers included."""
        return self._connection.max_payload

    async def store(self, messages: Sequence[tuple[str, bytes, bytes]]) -> list[Outcome]:
        """Send messages (subject, headers, body) in order; returns what became of each, in their order.

        Raises ConnectionFailed when none was sent.
        """
        await self._connection.roomy()
        outcomes: list[Outcome] = []
        for start in range(0, len(messages), _MOST_AT_ONCE):
            while self._on_the_way >= _MOST_AT_ONCE:
                self._room.clear()
                await self._room.wait()
            outcomes += await self._store(messages[start : start + _MOST_AT_ONCE])
        return outcomes

    async def _store(self, messages: Sequence[tuple[str, bytes, bytes]]) -> list[Outcome]:
        number = str(self._number)
        self._number += 1
        batch = self._batches[number] = _Batch(messages)
        self._on_the_way += len(messages)
        reply = f"{self._inbox}.{number}."
        try:
            if not self._connection.is_connected:
                return [self._unknown()] * len(messages)
            frames: list[bytes] = []
            size = 0
            for index, (subject, headers, body) in enumerate(messages):
                frames += frame(subject, f"{reply}{index}", headers, body)
                size += len(body) + len(headers)
                if size > _PIECE:
                    self._connection.write(b"".join(frames))
                    frames.clear()
                    size = 0
                    await self._connection.flow()
            self._connection.write(b"".join(frames))
            await batch.over
            return [each or self._unknown() for each in batch.outcomes]
        finally:
            del self._batches[number]
            self._on_the_way -= len(messages)
            self._room.set()

    def _receive(self, received: Received) -> None:
        number, _, index = received.subject[self._start :].partition(".")
        batch = self._batches.get(number)
        if batch is None:
            return
        at = int(index) if index.isdecimal() else len(batch.outcomes)
        if at < len(batch.outcomes):  # whoever hears the channel knows where its publisher waits, and may write there
            batch.end(at, _outcome(received))

    def _forbid(self, subject: str) -> None:
        for batch in self._batches.values():
            for at, (its, _, _) in enumerate(batch.messages):
                if its.lower() == subject:
                    batch.end(at, not_allowed(its))

    def _lost(self) -> None:
        for batch in self._batches.values():
            if not batch.over.done():
                batch.over.set_result(None)

    def _unknown(self) -> PublishTimeout:
        return PublishTimeout("the connection was lost: the message may or may not have been taken")


_PIECE = 256 * 1024


def _outcome(received: Received) -> Outcome:
    if is_nobody(received):
        return NoStream(f"no stream keeps {received.subject}")
    try:
        stored = _read(received.data)
    except msgspec.DecodeError:
        stored = Stored()
    error = stored.error
    if error is None:
        if stored.stream and stored.seq:
            return stored
        return PublishError(f"somebody answered {received.data[:100]!r} instead of JetStream")
    if error.err_code in _TOO_LARGE:
        return MessageTooLarge(f"the stream does not take it: {error.description}")
    return PublishError(f"the stream does not take it: {error.description}")
