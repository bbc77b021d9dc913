"""A reader of one stream, with what it holds ready."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from pabal.model.errors import ConfigurationError, ConnectionFailed, PabalError
from pabal.model.outcome import Retried, Settlement
from pabal.model.transport import Delivery, Settled, Source
from pabal.transports.redis.streams.entries import Entry, Token, delivery
from pabal.transports.redis.streams.listener import Listener
from pabal.transports.redis.streams.member import Member
from pabal.transports.redis.streams.mover import Place
from pabal.transports.redis.streams.reader import Reader
from pabal.transports.redis.streams.requests import Asked

log = logging.getLogger("pabal.redis")

_BLOCK = 5000
"""Milliseconds that the server lets us wait for an entry; its answer is a sign of life."""

_PAUSE = 0.5
_FAREWELL = 5.0


class StreamSubscription:
    """A member of a consumer group, or a listener.

    One task reads ahead, up to the window; another gives signs of life for what is held ready, and takes over what
    others have left.
    """

    def __init__(
        self,
        part: Member | Listener,
        source: Source,
        *,
        reader: Reader,
        asked: Asked,
        done: Callable[[str], None],
        expect: Callable[[Place, float], None],
        closed: Callable[[StreamSubscription], None],
    ) -> None:
        self.part = part
        self._source = source
        self._channel = source.channel
        self._reader = reader
        self._asked = asked
        self._done = done
        self._expect = expect
        self._on_close = closed
        self._window = source.window
        self._ready: deque[Entry] = deque()
        self._in_hand: set[Token] = set()
        self._roomy = asyncio.Event()
        self._waiting: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._beside: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def lease(self) -> float | None:
        """Seconds that a delivery stays ours without a sign of life; None: for a listener's copy."""
        return self.part.lease

    async def register(self) -> None:
        """Join the group, or begin to listen."""
        await self.part.join()
        await self._reader.open()
        await self._asked.open(self._wake)
        loop = asyncio.get_running_loop()
        who = f"{self._channel} @ {self._source.group or 'listener'}"
        self._tasks = [
            loop.create_task(self._read(), name=f"pabal redis: reading {who}"),
            loop.create_task(self._keep(), name=f"pabal redis: keeping {who}"),
        ]

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return 1 to `limit` of them."""
        if limit < 1:
            raise ConfigurationError(f"receive takes 1 or more deliveries, not {limit}")
        while True:
            if self._closing is not None:
                raise ConnectionFailed(f"the subscription to {self._channel!r} is closed")
            if asked := self._asked.take(limit):
                return asked
            if self._ready:
                return self._received(limit)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    def _received(self, limit: int) -> list[Delivery]:
        ready = self._ready
        entries = [ready.popleft() for _ in range(min(limit, len(ready)))]
        self._in_hand.update([entry.token for entry in entries])
        self._roomy.set()
        return [delivery(self._channel, entry) for entry in entries]

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """End deliveries; returns one settlement each, in their order."""
        requests = [place for place, each in enumerate(settled) if each.delivery.token is None]
        if requests:
            own = [each for each in settled if each.delivery.token is not None]
            settlements = await self._settle(own) if own else []
            for place in requests:
                settlements.insert(place, Settlement.DONE)
            return settlements
        return await self._settle(settled)

    async def _settle(self, settled: Sequence[Settled]) -> list[Settlement]:
        if self._closed:
            return [Settlement.LOST] * len(settled)
        try:
            settlements = await self.part.settle(settled)
        finally:
            # What may not have been settled is nobody's here any more: others get it.
            self._in_hand.difference_update([each.delivery.token for each in settled])
        self._done(self._channel)
        if isinstance(self.part, Member):
            waits = [each.outcome.after for each in settled if type(each.outcome) is Retried and each.outcome.after > 0]
            if waits:
                self._expect(self.part.to_move, min(waits))
        return settlements

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """Renew the lease of deliveries in hand; returns those that are no longer ours."""
        own = [each for each in deliveries if isinstance(each.token, Token)]
        if self._closed or not own:
            return own if self._closed else []
        tokens = [each.token for each in own if isinstance(each.token, Token)]
        lost = [each for each, ours in zip(own, await self.part.extend(tokens), strict=True) if not ours]
        self._in_hand.difference_update([each.token for each in lost])
        return lost

    def resize(self, window: int, /) -> None:
        """Hold at most `window` deliveries ready; what is held beyond goes back, uncounted."""
        shrunk, self._window = window < self._window, window
        self._give_back_beyond()
        self._roomy.set()
        if shrunk:
            self._aside(self._reader.interrupt(), "asking for less")

    async def aclose(self) -> None:
        """Release every delivery that is not settled."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="pabal redis: closing")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._wake()
        try:
            with suppress(PabalError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await asyncio.gather(self._asked.aclose(), self._release())  # who is asked now would not answer
        finally:
            self._closed = True
            for task in (*self._tasks, *self._beside):
                task.cancel()
            if self._tasks or self._beside:
                await asyncio.wait([*self._tasks, *self._beside])
            await self._asked.aclose()
            await self._reader.aclose()
            self._on_close(self)

    async def _release(self) -> None:
        """Read nothing more, let others have what is not settled, and leave."""
        self._roomy.set()
        if self._tasks:
            reading, keeping = self._tasks
            await self._reader.interrupt()
            await asyncio.wait([reading])
            keeping.cancel()
            await asyncio.wait([keeping])
        await self.part.recover()
        await self.part.leave()
        self._done(self._channel)

    async def _read(self) -> None:
        """Fill the window."""
        while self._closing is None:
            room = self._window - len(self._ready)
            if room <= 0:
                self._roomy.clear()
                await self._roomy.wait()
                continue
            try:
                reply = await self._reader.read(self.part.reading(room, _BLOCK))
            except ConfigurationError as error:
                log.error("%s: cannot read, trying again: %s", self._channel, error)  # noqa: TRY400 - one line
                await asyncio.sleep(_PAUSE)
                continue
            except ConnectionFailed as error:
                await self._recover(error)
                continue
            if reply:
                self._ready.extend(self.part.read(reply))
                beyond = self._beyond()
                self._wake()
                if beyond:  # until they stand where the next read looks first, it would send round others like them
                    await _quietly(self.part.give_back(beyond))
                await asyncio.sleep(0)  # whoever waits takes first: one read of a window costs less than two of half

    async def _recover(self, error: ConnectionFailed) -> None:
        """Give back what was lost on its way to us, and make a group anew that is gone."""
        if self._closing is not None:
            return
        try:
            if "NOGROUP" in str(error):
                log.warning("%s: its group was removed at the server, and is made anew: %s", self._channel, error)
                await self.part.join()
            else:
                await self.part.recover({*self._in_hand, *(entry.token for entry in self._ready)})
        except PabalError:
            await asyncio.sleep(_PAUSE)

    async def _keep(self) -> None:
        """Give signs of life for what is held ready, and take over what others have left."""
        every = min((self.lease or 30.0) / 4, 5.0)
        while True:
            await asyncio.sleep(every)
            with suppress(PabalError):  # the connection tells that it is lost
                await self._extend_ready()
                self._take_over(await self.part.take_over(self._window - len(self._ready)))

    async def _extend_ready(self) -> None:
        tokens = [entry.token for entry in self._ready]
        if tokens:
            lost = {token for token, ours in zip(tokens, await self.part.extend(tokens), strict=True) if not ours}
            if lost:
                self._ready = deque(entry for entry in self._ready if entry.token not in lost)

    def _take_over(self, entries: list[Entry]) -> None:
        if not entries:
            return
        again = {(entry.token.which, entry.token.id) for entry in entries}
        self._ready = deque(entry for entry in self._ready if (entry.token.which, entry.token.id) not in again)
        self._ready.extend(entries)
        self._give_back_beyond()
        self._wake()

    def _give_back_beyond(self) -> None:
        """Let others have what is more than the window."""
        if beyond := self._beyond():
            self._aside(self.part.give_back(beyond), "giving back")

    def _beyond(self) -> list[Token]:
        """Hold what is more than the window no longer."""
        return [self._ready.pop().token for _ in range(len(self._ready) - self._window)]

    def _aside(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """Do this meanwhile. Where it fails leases end, and others have the messages then."""
        task = asyncio.get_running_loop().create_task(_quietly(work), name=f"pabal redis: {what}")
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    with suppress(PabalError):  # the connection tells that it is lost
        await work
