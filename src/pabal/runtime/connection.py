"""An opened transport with all that works on it."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import AsyncExitStack

from msgspec import structs

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities, Settles
from pabal.model.clock import Clock
from pabal.model.codec import Codec, Decode
from pabal.model.errors import CapabilityError, ConfigurationError
from pabal.model.transport import Parks, Source, Transport
from pabal.runtime.attempt import Attempt
from pabal.runtime.consumer import Consumer
from pabal.runtime.dead import Box
from pabal.runtime.handler import Handler
from pabal.runtime.plan import Needs, plan, refuse
from pabal.runtime.publisher import OnUnrouted, Publisher
from pabal.runtime.registry import make_transport
from pabal.runtime.reply import Requester, Responder, requests_of
from pabal.runtime.reports import Counters
from pabal.runtime.retry import Backoff
from pabal.runtime.window import Window, first_size
from pabal.runtime.worker import Worker


async def connect(
    url: str, *, dead_letters: str | None, name: str, codec: Codec, clock: Clock, unrouted: OnUnrouted
) -> Connection:
    """Open the transport of `url`, and that of `dead_letters` where it is given.

    Raises ConfigurationError and ConnectionFailed; nothing stays open then.
    """
    async with AsyncExitStack() as opened:
        transport = make_transport(url, clock=clock)
        opened.push_async_callback(transport.aclose)
        can = await transport.open()
        box: Parks | None = None
        if dead_letters is not None:
            letters = make_transport(dead_letters, clock=clock)
            opened.push_async_callback(letters.aclose)
            if not (await letters.open()).parks:
                raise ConfigurationError(
                    f"{Address(dead_letters)} keeps no dead letters; use a SQL box, as in sqlite:///dead.db"
                )
            box = _parks(letters)
        if unrouted == "raise" and not can.detects_unrouted:
            raise CapabilityError('unrouted="raise" is refused: this transport cannot know whether anybody listens')
        return Connection(
            transport,
            can,
            box,
            closing=opened.pop_all(),
            name=name,
            codec=codec,
            clock=clock,
            unrouted=unrouted,
        )


class Connection:
    """What a bus holds while it is open."""

    def __init__(
        self,
        transport: Transport,
        can: Capabilities,
        box: Parks | None,
        *,
        closing: AsyncExitStack,
        name: str,
        codec: Codec,
        clock: Clock,
        unrouted: OnUnrouted,
    ) -> None:
        self.transport = transport
        self.can = can
        self._box = box
        self._closing = closing
        self._clock = clock
        self._consumers: set[Consumer[object]] = set()
        self.publisher = Publisher(transport, can, name=name, codec=codec, clock=clock, unrouted=unrouted, box=box)
        requests = requests_of(transport, offered=can.requests)
        self.requester = Requester(requests, codec=codec)
        self._responder = None if requests is None else Responder(requests, name=name, codec=codec, clock=clock)

    @property
    def parks(self) -> bool:
        """Whether the transport itself keeps the dead letters."""
        return self._box is None and self.can.parks

    def box(self) -> Box:
        """Where the dead letters are; raises CapabilityError when nobody keeps them."""
        if self._box is not None:
            return Box(self._box, own=False)
        if not self.can.parks:
            raise CapabilityError("this transport keeps no dead letters; give the bus dead_letters=sqlite:///dead.db")
        return Box(_parks(self.transport), own=True)

    async def work(self, handler: Handler, source: Source, *, retry: Backoff, executor: Executor | None) -> Worker:
        """Subscribe a handler and make its worker, not yet started."""
        counters = Counters()
        attempt = Attempt(
            handler,
            retry=retry,
            keeps_history=self.can.keeps_history,
            clock=self._clock,
            counters=counters,
            publisher=self.publisher,
            requester=self.requester,
            responder=self._responder,
            executor=executor,
        )
        shared = handler.group is not None and self.can.settles is not Settles.NONE
        window = first_size(source.window, handler.concurrency, shared=shared)
        subscription = await self.transport.subscribe(structs.replace(source, window=window))
        return Worker(
            handler,
            source,
            subscription,
            attempt,
            counters=counters,
            window=Window(source.window, handler.concurrency, subscription.lease, shared=shared),
            box=self._box,
            clock=self._clock,
        )

    async def consume(self, source: Source, *, decode: Decode, retry: Backoff) -> Consumer[object]:
        """Subscribe for pulling; raises CapabilityError when the transport cannot keep it."""
        needs = Needs(
            who=f"consumer of {source.group}",
            source=source.channel,
            group=source.group,
            start=source.start is not None,
        )
        refuse(plan(needs, self.can))
        consumer: Consumer[object] = Consumer(
            source,
            await self.transport.subscribe(source),
            decode=decode,
            retry=retry,
            keeps_history=self.can.keeps_history,
            box=self._box,
            clock=self._clock,
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


def _parks(transport: Transport) -> Parks:
    return transport  # type: ignore[return-value]  # declared by the capability of that name
