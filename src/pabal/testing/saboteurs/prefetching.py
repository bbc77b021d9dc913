"""A reader that holds ready, as readers of servers do: honest by itself, and a place for saboteurs to work in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from pabal.model.clock import Timer
from pabal.model.errors import ConnectionFailed
from pabal.model.outcome import RELEASED, Settlement
from pabal.model.transport import Delivery, Settled, Source, Subscription
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport


class PrefetchingSubscription(TamperedSubscription):
    """Fills its window by a task of its own and extends what waits in it."""

    def __init__(self, inner: Subscription, transport: TamperedTransport, source: Source) -> None:
        super().__init__(inner, transport, source)
        self.window = source.window
        self.buffer: deque[Delivery] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self._timer: Timer | None = None
        self._filling = asyncio.create_task(self._fill(), name=f"prefetch {source.channel}")
        self._extending: asyncio.Task[None] | None = None
        self._returning: set[asyncio.Task[Sequence[Settlement]]] = set()
        self.watch()

    def watch(self) -> None:
        """Extend what waits from time to time."""
        if self.lease is not None:
            self._timer = self.transport.clock.call_at(self.transport.clock.time() + self.lease / 4, self._extend)

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """What is held ready."""
        while not self.buffer:
            if self._ended:
                raise ConnectionFailed("the subscription is closed")
            await self._change()
        taken = [self.buffer.popleft() for _ in range(min(limit, len(self.buffer)))]
        self._changed.set()
        return taken

    def resize(self, window: int, /) -> None:
        """Hold at most `window` ready from now on; what is held beyond goes back."""
        self.window = window
        self.inner.resize(window)
        self._changed.set()
        self.trim()

    def trim(self) -> None:
        """Give back what is held beyond the window."""
        surplus = [Settled(self.buffer.pop(), RELEASED) for _ in range(len(self.buffer) - self.window)]
        if surplus:
            returning = asyncio.get_running_loop().create_task(self._give_back(surplus), name="give back what waits")
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)

    async def aclose(self) -> None:
        """Stop filling; the subscription behind releases what waits."""
        self._ended = True
        self._changed.set()
        if self._timer is not None:
            self._timer.cancel()
        self._filling.cancel()
        await asyncio.wait([self._filling])
        if ending := [*self._returning, *([self._extending] if self._extending is not None else [])]:
            await asyncio.wait(ending)
        self.buffer.clear()
        await self.inner.aclose()

    async def _fill(self) -> None:
        try:
            while True:
                while len(self.buffer) >= self.window:
                    await self._change()
                got = await self.inner.receive(self.window - len(self.buffer))
                self.buffer.extend(got)
                self._changed.set()
                self.trim()  # it was resized while these were on their way
        except ConnectionFailed:
            self._ended = True
            self._changed.set()

    async def _give_back(self, surplus: list[Settled]) -> Sequence[Settlement]:
        return await self.inner.settle(surplus)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _extend(self) -> None:
        self._extending = asyncio.get_running_loop().create_task(self._extend_buffer(), name="extend what waits")
        self.watch()

    async def _extend_buffer(self) -> None:
        if self.buffer:
            lost = await self.inner.extend(list(self.buffer))
            self.buffer = deque(each for each in self.buffer if each not in lost)


class Prefetching(TamperedTransport):
    """An honest transport whose readers hold ready."""

    reading = PrefetchingSubscription
