"""A port in front of a server's, on which the network can fail: a URL names this one instead."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

from tests.servers.ports import LOOPBACK, Port

_RESET = struct.pack("ii", 1, 0)  # linger for 0 seconds: closing resets


class Proxy:
    """Passes connections on to a port on loopback, until told otherwise; it has a thread of its own.

    Each method returns once what it says is so.

    Attributes:
        port: where clients connect.
        accepted: how many connections there have been.
    """

    def __init__(self, target: int) -> None:
        self.accepted = 0
        self._target = target
        self._port = Port()
        self._sides: set[_Side] = set()
        self._stalled = {"requests": False, "answers": False}
        self._listener: socket.socket | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.forward()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return sum(side.direction == "requests" for side in list(self._sides))

    def forward(self) -> None:
        """Pass everything, what was held back first; take new connections."""
        self._run(self._listen)
        self._stall(requests=False, answers=False)

    def stall(self, *, requests: bool = True, answers: bool = True) -> None:
        """Be a black hole: connections stay open, new ones are taken too, and nothing passes, or not in one direction.

        What is sent meanwhile waits, as it would at the sender, and passes once `forward` is called.
        """
        self._stall(requests=requests, answers=answers)

    def refuse(self) -> None:
        """Refuse new connections; those that there are go on."""
        self._run(self._unlisten)

    def cut(self) -> None:
        """Reset all connections; new ones are taken."""
        self._run(self._reset)

    def close(self) -> None:
        """Reset all connections and end; safe to call twice."""
        if self._thread.is_alive():
            self._run(self._unlisten)
            self._run(self._reset)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._port.close()

    def paused(self, side: _Side) -> bool:
        """Whether nothing passes in the direction in which this side sends."""
        return self._stalled[side.direction]

    def _run(self, act: Callable[[], object]) -> None:
        """Do it in the loop's thread, between whatever arrives."""

        async def acting() -> None:
            done = act()
            if asyncio.iscoroutine(done):
                await done

        asyncio.run_coroutine_threadsafe(acting(), self._loop).result(10)

    def _stall(self, **stalled: bool) -> None:
        def change() -> None:
            self._stalled.update(stalled)
            for side in self._sides:
                side.flow()

        self._run(change)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((LOOPBACK, self.port), backlog=1024)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._accept()  # who has connected by now is there, and goes on
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None
        with suppress(BlockingIOError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                arriving = self._loop.create_task(self._join(client), name="proxy joins")
                self._arriving.add(arriving)
                arriving.add_done_callback(self._arriving.discard)

    async def _join(self, client: socket.socket) -> None:
        """Connect a client to the server."""
        near, far = _Side(self, "requests", self._sides), _Side(self, "answers", self._sides)
        await self._loop.connect_accepted_socket(lambda: near, client)
        try:
            await self._loop.create_connection(lambda: far, LOOPBACK, self._target)
        except OSError:
            near.reset()
        else:
            near.join(far)

    async def _reset(self) -> None:
        if self._listener is not None:
            self._accept()
        while self._sides or self._arriving:
            for side in list(self._sides):
                side.reset()
            await asyncio.sleep(0)


class _Side(asyncio.Protocol):
    """One end of a connection: what it receives goes to its other end."""

    transport: asyncio.Transport

    def __init__(self, proxy: Proxy, direction: str, sides: set[_Side]) -> None:
        self.direction = direction
        self._proxy = proxy
        self._sides = sides
        self._other: _Side | None = None
        self._full = False  # its other end has more than it can send

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._sides.add(self)
        # Not at once: Python 3.11.2 begins to read after this, whether it was paused or not.
        asyncio.get_running_loop().call_soon(self.flow)

    def join(self, other: _Side) -> None:
        self._other, other._other = other, self
        if self.transport.is_closing():
            other.reset()
        self.flow()
        other.flow()

    def flow(self) -> None:
        if self._other is None or self._full or self._proxy.paused(self):
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def reset(self) -> None:
        connection = self.transport.get_extra_info("socket")
        if not self.transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        assert self._other is not None
        self._other.transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other._full = True
            self._other.flow()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other._full = False
            self._other.flow()

    def eof_received(self) -> bool:
        assert self._other is not None
        if self._other.transport.can_write_eof():
            self._other.transport.write_eof()
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self._sides.discard(self)
        if self._other is None:
            return
        if exc is not None:
            self._other.reset()
        else:
            self._other.transport.close()
