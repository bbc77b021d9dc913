"""Calls to JetStream's own API, over the private inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from pabal.model.errors import ConnectionFailed, PabalError
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.received import Received, is_nobody

NANO = 1_000_000_000
"""JetStream counts time in nanoseconds."""

NO_CONSUMER = 10014
NO_MESSAGE = 10037
NO_STREAM = 10059
DISABLED = 10039
UNREACHED = 503
"""The code of a call that nobody at the server took."""

_TIMEOUT = 5.0

Answer = dict[str, Any]

_read = msgspec.json.Decoder(Answer).decode


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class ApiError(PabalError):
    """What JetStream answers to a call that it refuses; `code` is one of the codes above, or another."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Api:
    """Asks JetStream, and hands each answer to who asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = connection.branch("a", self._receive)
        self._waiting: dict[str, Callable[[Answer | PabalError], None]] = {}
        self._number = 0
        connection.watch(self._lost)

    async def ask(self, call: str, request: object = None) -> Answer:
        """Ask and wait for the answer; raises ApiError, and ConnectionFailed when none comes."""
        await self._connection.ready()
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def take(answer: Answer | PabalError) -> None:
            if answered.done():
                return
            if isinstance(answer, PabalError):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)

        number = self.send(call, request, take)
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await answered
        except TimeoutError:
            raise ConnectionFailed(f"{self._connection.address}: JetStream did not answer {call}") from None
        finally:
            self._waiting.pop(number, None)

    def send(self, call: str, request: object, take: Callable[[Answer | PabalError], None]) -> str:
        """Ask; `take` gets the answer, or the error. It gets nothing when none comes while the connection lives."""
        number = str(self._number)
        self._number += 1
        self._waiting[number] = take
        self._write(call, f"{self._inbox}.{number} ", request)
        return number

    def tell(self, call: str, request: object) -> None:
        """Ask for what nobody waits for."""
        self._write(call, "", request)

    def _write(self, call: str, reply: str, request: object) -> None:
        body = b"" if request is None else msgspec.json.encode(request)
        self._connection.write(b"PUB $JS.API.%s %s%d\r\n%s\r\n" % (call.encode(), reply.encode(), len(body), body))

    def _receive(self, received: Received) -> None:
        take = self._waiting.pop(received.subject[len(self._inbox) + 1 :], None)
        if take is None:
            return
        if is_nobody(received):
            take(ApiError(UNREACHED, f"{self._connection.address}: JetStream is not there"))
            return
        try:
            answer = _read(received.data)
            error = None if "error" not in answer else msgspec.convert(answer["error"], _Error)
        except msgspec.DecodeError:
            take(ApiError(0, f"somebody answered {received.data[:100]!r} instead of JetStream"))
            return
        take(answer if error is None else ApiError(error.err_code, error.description))

    def _lost(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for take in waiting.values():
            take(ConnectionFailed(f"the connection to {self._connection.address} was lost"))
