"""A reader of Redis's own channels: what comes is gone from the server."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from pabal.model.clock import Clock, utc
from pabal.model.errors import ConfigurationError, ConnectionFailed, PabalError
from pabal.model.names import is_pattern
from pabal.model.outcome import Reason, Settlement
from pabal.model.transport import Delivery, Settled, Source
from pabal.transports.redis.interest import Interest
from pabal.transports.redis.membership import Membership
from pabal.transports.redis.names import Names
from pabal.transports.redis.server import Server
from pabal.transports.redis.wire import needs_no_claim, taken

log = logging.getLogger("pabal.redis")

_MOST_CLAIMED = 500
"""How many messages a member claims in one step."""

_MOST_CHANNELS = 10_000
"""How many channels' names are remembered of what a pattern takes."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_FAREWELL = 2.0

_KNOWN_FOR = 5.0
"""Seconds after which publishers are told again who reads: the server may have been made to forget it all."""

Came = tuple[bytes, bytes]
"""A Redis channel, and what was published there."""


class PubSubSubscription:
    """A member of a group, or a listener.

    The server pushes, whatever the window is: more than `overflow` messages are not kept waiting, the rest goes where
    the source says.
    """

    lease = None

    def __init__(
        self,
        server: Server,
        source: Source,
        *,
        names: Names,
        membership: Membership,
        overflow: int,
        clock: Clock,
        closed: Callable[[PubSubSubscription], None] | None = None,
    ) -> None:
        self._source = source
        self._membership = membership
        self._overflow = overflow
        self._clock = clock
        self._on_close = closed
        self._told: Callable[[], None] | None = None
        self._names = names
        self._pattern = is_pattern(source.channel)
        self._own = names.ours.encode()
        self._channels: dict[bytes, str | None] = {}
        self._interest = Interest(
            server,
            name=f"{source.channel} @ {source.group}" if source.group else source.channel,
            receive=self._takes if self._pattern else self._takes_all,
            again=self._again,
            hidden=names.ours,
        )
        self._unclaimed: deque[Came] = deque()
        self._claims: list[Came] = []
        self._claiming: asyncio.Task[None] | None = None
        self._came: deque[Came] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._spilt: list[Came] = []
        self._lost = 0
        self._registering: asyncio.Task[None] | None = None
        self._staying: asyncio.Task[None] | None = None
        self._turning: asyncio.Task[None] | None = None
        self._wanted = self._reads = True
        self._spilling: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    async def register(self) -> None:
        """Begin to be handed messages."""
        await self._interest.open()
        await self._begin_reading()

    async def _begin_reading(self) -> None:
        await self._interest.add(self._membership.channels, self._membership.globs)
        await self._membership.register()
        if self._membership.is_known:
            self._staying = asyncio.get_running_loop().create_task(
                self._stay_known(), name=f"pabal redis: {self._source.channel} stays known"
            )

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return 1 to `limit` of them."""
        if limit < 1:
            raise ConfigurationError(f"receive takes 1 or more deliveries, not {limit}")
        while not self._came or self._closed:
            if self._closed:
                raise ConnectionFailed(f"the subscription to {self._source.channel!r} is closed")
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self.take(limit)

    def tell(self, came: Callable[[], None]) -> None:
        """Call `came` whenever there is something to take."""
        self._told = came

    def take(self, limit: int) -> Sequence[Delivery]:
        """Up to `limit` deliveries that are there."""
        came = self._came
        return self._deliveries([came.popleft() for _ in range(min(limit, len(came)))])

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """Nothing is settled here: whatever became of a message, the server has forgotten it."""
        return [Settlement.DONE] * len(settled)

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """Nothing runs out here."""
        del deliveries
        return ()

    def resize(self, window: int, /) -> None:
        """The server pushes, whatever the window is; with one of 0 nothing is read, so that others take what comes."""
        self._wanted = window > 0
        if self._turning is None or self._turning.done():
            self._turning = asyncio.get_running_loop().create_task(self._turn(), name="pabal redis: resizing")

    async def aclose(self) -> None:
        """Take nothing more. What a group's member still holds then goes where the source says."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="pabal redis: closing")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            with suppress(PabalError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    if self._turning is not None:
                        await asyncio.wait([self._turning])
                    await self._stop_reading()
        finally:
            self._closed = True
            if self._on_close is not None:
                self._on_close(self)
            self._wake()
            for task in (self._turning, self._claiming, self._registering, self._staying):
                if task is not None and not task.done():
                    task.cancel()
                    await asyncio.wait([task])
            await self._interest.aclose()
            if self._spilling is not None:
                await self._spilling
        if self._source.group is not None:
            # What could not be claimed may be another member's: twice is better than never.
            left = [*self._came, *self._claims, *self._unclaimed]
            self._came.clear()
            await self._hand_back(left, "abandoned")

    async def _turn(self) -> None:
        with suppress(PabalError):  # the connection tells that it is lost
            while self._reads is not self._wanted:
                self._reads = self._wanted
                await (self._begin_reading() if self._reads else self._stop_reading())

    async def _stop_reading(self) -> None:
        """Read nothing more, and claim what was read."""
        if self._staying is not None:
            self._staying.cancel()
        await self._interest.remove(self._membership.channels, self._membership.globs)
        if self._claiming is not None:
            await asyncio.wait([self._claiming])
        await self._membership.forget()

    def _takes(self, came: list[Came]) -> None:
        """Take what a pattern means, which is less than what Redis takes it for."""
        self._takes_all([each for each in came if self._channel_of(each[0]) is not None])

    def _takes_all(self, came: list[Came]) -> None:
        if self._source.group is None:
            self._kept(came)
            return
        if self._membership.registered:
            alone = [each for each in came if needs_no_claim(each[1])]
            if alone:
                self._kept(alone)
                came = [each for each in came if not needs_no_claim(each[1])]
        if came:
            self._to_claim(came)

    def _again(self) -> None:
        """After a reconnection the server may be another, or have forgotten who reads."""
        self._membership.registered = False
        self._registering = asyncio.get_running_loop().create_task(
            self._register_again(), name=f"pabal redis: {self._source.channel} again"
        )

    async def _register_again(self) -> None:
        with suppress(PabalError):  # what ends this connection, too, is told there
            await self._membership.register()

    async def _stay_known(self) -> None:
        while True:
            await asyncio.sleep(_KNOWN_FOR)
            if self._membership.registered:
                await self._register_again()

    def _channel_of(self, name: bytes) -> str | None:
        if not self._pattern or name.startswith(self._own):
            return self._source.channel
        if name not in self._channels:
            if len(self._channels) >= _MOST_CHANNELS:
                self._channels.clear()
            self._channels[name] = self._names.channel_of(name, self._source.channel)
        return self._channels[name]

    def _to_claim(self, came: list[Came]) -> None:
        self._unclaimed.extend(came)
        while len(self._unclaimed) > self._overflow:
            self._unclaimed.popleft()
            self._lost += 1
        if self._claiming is None or self._claiming.done():
            self._claiming = asyncio.get_running_loop().create_task(
                self._claim(), name=f"pabal redis: claims of {self._source.group}"
            )

    async def _claim(self) -> None:
        """Find out which of what was read is ours, and keep it."""
        while self._unclaimed:
            batch = [self._unclaimed.popleft() for _ in range(min(_MOST_CLAIMED, len(self._unclaimed)))]
            self._claims = batch
            ours = await self._claimed([payload for _, payload in batch])
            self._claims = []
            self._kept([each for each, is_ours in zip(batch, ours, strict=True) if is_ours])

    async def _claimed(self, payloads: list[bytes]) -> list[bool]:
        token, pause = self._membership.next_claim(), _FIRST_PAUSE
        while True:
            try:
                return await self._membership.claim(payloads, token)
            except PabalError as error:
                log.warning(
                    "%s @ %s: could not claim %d messages, trying again in %.1f s: %s",
                    self._source.channel,
                    self._source.group,
                    len(payloads),
                    pause,
                    error,
                )
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _kept(self, came: list[Came]) -> None:
        """Keep what is ours, as far as there is room."""
        room = self._overflow - len(self._came)
        if len(came) > room:
            came, beyond = came[:room], came[room:]
            room = self._overflow - len(self._spilt)
            self._spilt += beyond[:room]
            self._lost += len(beyond[room:])
        self._came.extend(came)
        if (self._spilt or self._lost) and (self._spilling is None or self._spilling.done()):
            self._spilling = asyncio.get_running_loop().create_task(self._spill(), name="pabal redis: overflow")
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        if self._told is not None:
            self._told()

    async def _spill(self) -> None:
        while self._spilt:
            spilt, self._spilt = self._spilt, []
            await self._hand_back(spilt, "overflow")
        if self._lost:
            lost, self._lost = self._lost, 0
            log.error(
                "%s: %d messages came faster than they could be handled or kept, and are lost",
                self._source.channel,
                lost,
            )

    async def _hand_back(self, came: Sequence[Came], reason: Reason) -> None:
        """Let somebody look after messages that are not handed out here."""
        if came and self._source.on_undelivered is not None:
            await self._source.on_undelivered(self._deliveries(came), reason)

    def _deliveries(self, came: Sequence[Came]) -> list[Delivery]:
        now = utc(self._clock.time())
        deliveries = []
        for channel, payload in came:
            message, redrive = taken(self._channel_of(channel) or "", payload, arrived=now)
            deliveries.append(Delivery(message, redrive=redrive))
        return deliveries
