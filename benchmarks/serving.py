"""Real servers for benchmarks: each of a part's own, on loopback, and gone with it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from benchmarks.load import CHANNEL

if TYPE_CHECKING:
    from tests.servers.server import Server

# The server's own default: what a disk takes for each command would hide what the clients take.
_OPTIONS = {"nats": {}, "redis": {"settings": {"appendfsync": "everysec"}}}
_CHUNK = 1 << 20


@contextmanager
def serving(kind: str) -> Iterator[Server]:
    """The newest version of this kind of server that the tests know, with an empty folder."""
    from tests.servers.guard import Guard
    from tests.servers.legs import LEGS

    with Guard() as guard, LEGS[kind][0].make(guard, **_OPTIONS[kind]) as server:
        server.start()
        yield server


@contextmanager
def nats_sink(server: Server) -> Iterator[None]:
    """Somebody on a NATS who takes all that is published on the channel, and does nothing with it."""
    with _sink(server, f'CONNECT {{"verbose":false}}\r\nSUB {CHANNEL} 1\r\nPING\r\n', b"PONG"):
        yield


@contextmanager
def redis_sink(server: Server) -> Iterator[None]:
    """Somebody on a Redis who takes all that is published on the channel, and does nothing with it."""
    with _sink(server, f"SUBSCRIBE {CHANNEL}\r\n", b":1\r\n"):
        yield


@contextmanager
def _sink(server: Server, hello: str, ready: bytes) -> Iterator[None]:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(hello.encode())
        answer = b""
        while ready not in answer:
            answer += connection.recv(_CHUNK)
        reading = Thread(target=_swallow, args=(connection,), daemon=True)
        reading.start()
        yield
        connection.shutdown(socket.SHUT_RDWR)
        reading.join()


def _swallow(connection: socket.socket) -> None:
    room = bytearray(_CHUNK)
    while connection.recv_into(room):
        pass
