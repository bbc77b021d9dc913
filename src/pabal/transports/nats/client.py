"""The client library as it is used here."""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any

from nats import errors
from nats.aio.client import Client

from pabal.transports.nats.received import Received

Receive = Callable[[Received], None]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

_REFUSED = re.compile(r'permissions violation for (publish|subscription) to "(.+?)"')


class NatsClient(Client):
    """The client, but that it sends no credentials to a server that would read them unencrypted."""

    def __init__(self, *, encrypted: bool) -> None:
        super().__init__()
        self._encrypted = encrypted

    def _connect_command(self) -> bytes:
        if self._encrypted and not self._server_info.get("tls_required"):
            raise errors.SecureConnWantedError
        return super()._connect_command()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        # Every subscription here has a sink, which takes a message as it is: nothing is read that nobody asks for.
        subscription = self._subs.get(sid)
        sink = None if subscription is None else subscription._future  # noqa: SLF001
        if sink is not None:
            sink.set_result(
                Received(subject.decode("utf-8", "replace"), reply.decode("utf-8", "replace"), data, headers)
            )


class Sink:
    """What a subscription takes for the future of its only message."""

    def __init__(self, receive: Receive) -> None:
        self.set_result = receive

    def cancelled(self) -> bool:
        return False


def next_server(found: Sequence[Any], _info: object) -> tuple[Any, float]:
    """Which of the servers is tried next, and how many seconds from now."""
    server = min(found, key=lambda each: each.reconnects)
    pause = min(_FIRST_PAUSE * 2 ** min(server.reconnects, 10), _LONGEST_PAUSE)
    return server, pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def words(error: Exception | None) -> str:
    """What an error says, on one line."""
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own text has the number and not its meaning
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    text = str(error).removeprefix("nats: ").strip(" '") if error is not None else ""
    return text or type(error).__name__


def refused(error: Exception) -> tuple[str, str] | None:
    """What the user may not do, ``publish`` or ``subscription``, and the subject; the client has it in lower case."""
    found = _REFUSED.search(str(error))
    return None if found is None else (found[1], found[2])
