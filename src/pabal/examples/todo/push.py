"""Server-sent events: what the page process hears, told to every connected browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

MOST_BROWSERS = 100
BACKLOG = 32
HEARTBEAT = 15.0


class Browsers:
    """The connected browsers, each with a queue of at most `BACKLOG` events.

    One that reads too slowly is let go: it connects again by itself and then reads the whole list.

    Attributes:
        watched: set while there is one.
    """

    def __init__(self) -> None:
        self.watched = asyncio.Event()
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether no further browser may connect, now or since the server ends."""
        return self._closed or len(self._queues) >= MOST_BROWSERS

    def tell(self, event: str, data: bytes) -> None:
        """Send an event to every browser; `data` is one line."""
        line = b"event: %s\ndata: %s\n\n" % (event.encode(), data)
        for queue in tuple(self._queues):
            if queue.full():
                self._let_go(queue)
            else:
                queue.put_nowait(line)

    async def stream(self) -> AsyncGenerator[bytes]:
        """The events for one browser, with a sign of life every `HEARTBEAT` seconds."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(BACKLOG)
        self._queues.add(queue)
        self.watched.set()
        try:
            yield b"retry: 1000\n\n"
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        event = await queue.get()
                except TimeoutError:
                    event = b": alive\n\n"
                if event is None:
                    return
                yield event
        finally:
            self._forget(queue)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        for queue in tuple(self._queues):
            self._let_go(queue)

    def _let_go(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._forget(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)

    def _forget(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._queues.discard(queue)
        if not self._queues:
            self.watched.clear()
