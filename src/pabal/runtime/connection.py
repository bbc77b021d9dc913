"""An opened transport with all that works on it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack

from msgspec import structs

from pabal.model.capabilities import Capabilities, Settles
from pabal.model.clock import Clock
from pabal.model.codec import Codec, Decode
from pabal.model.errors import CapabilityError
from pabal.model.transport import Administers, Parks, Source, Subscription, Transport
from pabal.runtime.attempt import Attempt
from pabal.runtime.batch_attempt import BatchAttempt
from pabal.runtime.batch_worker import BatchWorker
from pabal.runtime.box import Box, Parking
from pabal.runtime.consumer import Consumer, OnPull
from pabal.runtime.handler import Handler
from pabal.runtime.keeping import box_url, check_box, make_room, publishes_letters, shown
from pabal.runtime.letter_channel import CHANNEL, LetterChannel
from pabal.runtime.middleware import AroundPublishing
from pabal.runtime.plan import BusNeeds, Line, Needs, plan, refuse
from pabal.runtime.publisher import OnUnrouted, Publisher
from pabal.runtime.registry import make_transport
from pabal.runtime.reply import Requester, Responder, requests_of
from pabal.runtime.reports import Counters
from pabal.runtime.retry import Backoff
from pabal.runtime.surrounded import SurroundedPublisher
from pabal.runtime.undelivered import Undelivered
from pabal.runtime.unsettled import Unsettled
from pabal.runtime.window import Window, first_size
from pabal.runtime.worker import Worker, appetite

log = logging.getLogger("pabal")


async def connect(
    transport: Transport,
    url: str,
    *,
    dead_letters: str | None,
    name: str,
    codec: Codec,
    clock: Clock,
    unrouted: OnUnrouted,
    retry: Backoff | None = None,
    readers: Collection[Needs] = (),
) -> Connection:
    """Open `transport`, which is that of `url`, and the box of its dead letters where it is not to keep them itself.

    Raises CapabilityError when these cannot keep what the bus and `readers` need, ConfigurationError, and
    ConnectionFailed; nothing stays open then.
    """
    async with AsyncExitStack() as opened:
        opened.push_async_callback(transport.aclose)
        can = await transport.open()
        where = box_url(url, dead_letters, can)
        bus = BusNeeds(unrouted=unrouted, retry=retry or Backoff(), box=shown(where), handles=bool(readers))
        refuse(plan(readers, bus, can))
        box: Parks | None = None
        if where is not None:
            if dead_letters is None:
                make_room(where)
                log.info("dead letters of %s are kept in %s; dead_letters=URL says where else", transport, where)
            letters = make_transport(where, clock=clock)
            opened.push_async_callback(letters.aclose)
            check_box(where, await letters.open())
            box = _parks(letters)
        return Connection(
            transport,
            can,
            box,
            closing=opened.pop_all(),
            bus=bus,
            name=name,
            codec=codec,
            clock=clock,
        )


async def ask(
    url: str,
    *,
    dead_letters: str | None,
    unrouted: OnUnrouted,
    retry: Backoff,
    readers: Collection[Needs],
    clock: Clock,
    offline: bool,
) -> list[Line]:
    """The plan of a bus, without subscribing anything; `offline`: on the best of servers, without connecting.

    Raises as `connect` does, but for what is refused: that is in the plan.
    """
    can = await _capabilities(url, clock=clock, offline=offline)
    where = box_url(url, dead_letters, can)
    if dead_letters is not None:
        check_box(dead_letters, await _capabilities(dead_letters, clock=clock, offline=offline))
    return plan(readers, BusNeeds(unrouted=unrouted, retry=retry, box=shown(where), handles=bool(readers)), can)


async def _capabilities(url: str, *, clock: Clock, offline: bool) -> Capabilities:
    transport = make_transport(url, clock=clock)
    try:
        return transport.best if offline else await transport.open()
    finally:
        await transport.aclose()


class Connection:
    """What a bus holds while it is open."""

    def __init__(
        self,
        transport: Transport,
        can: Capabilities,
        box: Parks | None,
        *,
        closing: AsyncExitStack,
        bus: BusNeeds,
        name: str,
        codec: Codec,
        clock: Clock,
    ) -> None:
        self.transport = transport
        self.can = can
        self._bus = bus
        self._box = box
        self._settles = can.settles is not Settles.NONE
        self._channel = LetterChannel(transport, clock=clock) if publishes_letters(can, box=box is not None) else None
        parking: Parking | None = self._channel or box
        # Where nothing is settled, a dead letter is parked as such even by the transport itself.
        self._letters = _parks(transport) if parking is None and not self._settles else parking
        self._parking = parking
        self._closing = closing
        self._clock = clock
        self._consumers: set[Consumer[object]] = set()
        self._on_pull: OnPull | None = None
        self.publisher = Publisher(
            transport, can, name=name, codec=codec, clock=clock, unrouted=bus.unrouted, box=parking
        )
        requests = requests_of(transport, offered=can.requests)
        self.requester = Requester(requests, codec=codec)
        self._responder = None if requests is None else Responder(requests, name=name, codec=codec, clock=clock)

    def plan(self, readers: Collection[Needs]) -> list[Line]:
        """What is kept of the needs of handlers, listeners and consumers, and of the bus they belong to."""
        return plan(readers, structs.replace(self._bus, handles=bool(readers)), self.can)

    def surround(self, around: Sequence[AroundPublishing], on_pull: OnPull | None = None) -> None:
        """Let all that is published from now on pass through middleware, and tell `on_pull` what is pulled."""
        self.publisher, self.requester = self._surrounded(around)
        self._on_pull = on_pull

    def _surrounded(self, around: Sequence[AroundPublishing]) -> tuple[Publisher, Requester]:
        if not around:
            return self.publisher, self.requester
        return SurroundedPublisher(self.publisher, around), self.requester.surrounded(around)

    def box(self) -> Box:
        """Where the dead letters are; raises CapabilityError when nobody keeps them."""
        if self._channel is not None:
            raise CapabilityError(
                f"dead letters of this transport are in its channel {CHANNEL}, from where they are taken into a box: "
                "give the bus dead_letters=sqlite:///dead.db, or pabal dead --box sqlite:///dead.db"
            )
        if self._box is None and not self.can.parks:
            raise CapabilityError("this transport keeps no dead letters; give the bus dead_letters=sqlite:///dead.db")
        return Box(
            _parks(self.transport) if self._box is None else self._box,
            self.transport,
            own=self._box is None,
            administers=_administers(self.transport) if self.can.administers else None,
            collected=self._box is not None and publishes_letters(self.can, box=False),
            clock=self._clock,
        )

    async def work(self, handler: Handler, source: Source, *, retry: Backoff, executor: Executor | None) -> Worker:
        """Subscribe a handler and make its worker, not yet started."""
        publisher, requester = self._surrounded(handler.around_publishing)
        counters = Counters()
        attempting, working = (Attempt, Worker) if handler.batch is None else (BatchAttempt, BatchWorker)
        attempt = attempting(
            handler,
            retry=retry,
            keeps_history=self.can.keeps_history or not self._settles,
            clock=self._clock,
            counters=counters,
            publisher=publisher,
            requester=requester,
            responder=self._responder,
            executor=executor,
        )
        shared = handler.group is not None and self._settles
        window = first_size(source.window, appetite(handler), shared=shared)
        subscription = await self._subscribe(structs.replace(source, window=window))
        return working(
            handler,
            source,
            subscription,
            attempt,
            counters=counters,
            window=Window(source.window, appetite(handler), subscription.lease, shared=shared),
            box=self._letters,
            clock=self._clock,
        )

    async def _subscribe(self, source: Source) -> Subscription:
        """Subscribe a handler; where nothing is settled, what it cannot take becomes dead letters."""
        if self._settles:
            return await self.transport.subscribe(source)
        assert self._letters is not None  # noqa: S101 - such a transport always has a box
        undelivered = Undelivered(source, box=self._letters, clock=self._clock)
        subscription = await self.transport.subscribe(structs.replace(source, on_undelivered=undelivered.park))
        if source.group is None:
            return subscription
        return Unsettled(subscription, source, undelivered=undelivered, clock=self._clock)

    async def consume(self, source: Source, *, decode: Decode, retry: Backoff) -> Consumer[object]:
        """Subscribe for pulling; raises CapabilityError when the transport cannot keep it."""
        needs = Needs(
            who=f"consumer of {source.channel} @ {source.group}",
            source=source.channel,
            group=source.group,
            retry=retry,
            start=source.start is not None,
            pulls=True,
        )
        refuse(self.plan([needs]))
        consumer: Consumer[object] = Consumer(
            source,
            await self.transport.subscribe(source),
            decode=decode,
            retry=retry,
            keeps_history=self.can.keeps_history,
            box=self._parking,
            clock=self._clock,
            on_pull=self._on_pull,
        )
        consumer.start()
        self._consumers.add(consumer)
        return consumer

    async def leave(self, consumer: Consumer[object]) -> None:
        """Close a consumer."""
        self._consumers.discard(consumer)
        await consumer.aclose()

    async def aclose(self) -> None:
        """Close consumers, the transport and the box of dead letters; whoever waits for an answer is told."""
        async with self._closing:
            for consumer in tuple(self._consumers):
                await self.leave(consumer)
            await self.requester.aclose()


def _administers(transport: Transport) -> Administers:
    return transport  # type: ignore[return-value]  # declared by the capability of that name


def _parks(transport: Transport) -> Parks:
    return transport  # type: ignore[return-value]  # declared by the capability of that name
