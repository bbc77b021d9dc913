"""``redis+pubsub://``: what nobody reads at that moment is gone, so that delivery is at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities
from pabal.model.clock import Clock
from pabal.model.errors import CapabilityError, ConfigurationError, ConnectionFailed
from pabal.model.message import Message
from pabal.model.names import check_group, check_source
from pabal.model.transport import Finding, Post, Receipt, Source
from pabal.transports.redis.answers import Answers
from pabal.transports.redis.commands import Commands
from pabal.transports.redis.facts import check_server, facts
from pabal.transports.redis.membership import Membership
from pabal.transports.redis.names import Names
from pabal.transports.redis.options import LARGEST, ServerOptions, check, hosts
from pabal.transports.redis.publishing import Publishing
from pabal.transports.redis.server import Server
from pabal.transports.redis.subscription import PubSubSubscription


@dataclass(frozen=True)
class PubSubOptions(ServerOptions):
    """Options of ``redis+pubsub://`` beside those of the server.

    `overflow` is how many messages may wait in memory for one reader. `claim` is for how many seconds a message stays
    the one member's that has claimed it: as long as members of a group may lie behind one another.
    """

    overflow: int = 10_000
    claim: int = 60


class PubSubTransport:
    """Publish and subscribe on Redis's own channels."""

    best = Capabilities(
        broadcast=True,
        groups=True,
        patterns=True,
        counts_receivers=True,
        detects_unrouted=True,
        requests=True,
        examines=True,
        max_body=LARGEST,
    )

    def __init__(self, address: Address, /, *, clock: Clock) -> None:
        options = self._options = address.options(PubSubOptions)
        check(address, options)
        hosts(address)
        if options.overflow < 1 or options.claim < 1:
            raise ConfigurationError(f"bad URL {address}: overflow is at least 1 message, claim at least 1 second")
        self._address = address
        self._clock = clock
        self._server = Server(address, options)
        self._names = Names(options.prefix)
        self._commands = Commands(self._server, name="commands")
        self._publishing = Publishing(self._commands, self._names, max_body=options.max_body)
        self._answers = Answers(self._commands, self._names, clock=clock)
        self._subscriptions: set[PubSubSubscription] = set()
        self._can: Capabilities | None = None
        self._closed = False

    def __str__(self) -> str:
        return str(self._address)

    async def open(self) -> Capabilities:
        """Connect."""
        if self._closed:
            raise ConnectionFailed(f"{self} is closed")
        if self._can is None:
            await self._commands.open()
            try:
                check_server(await facts(self._commands), self._server)
            except BaseException:
                await self._commands.aclose()
                raise
            self._can = replace(self.best, max_body=self._options.max_body)
        return self._can

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Send messages in order; returns once the server has handed them to those who read."""
        self._check_open()
        return await self._publishing.publish(posts)

    async def subscribe(self, source: Source, /) -> PubSubSubscription:
        """Register a reader; a group's members claim what they handle."""
        self._check_open()
        check_source(source.channel)
        if source.ordered:
            raise CapabilityError("Redis Pub/Sub keeps no order for a group; leave out ordered=True")
        if source.start is not None:
            raise CapabilityError("Redis Pub/Sub keeps no log; leave out start=, or use redis+streams://")
        if source.group is not None:
            check_group(source.group)
        subscription = PubSubSubscription(
            self._server,
            source,
            names=self._names,
            membership=Membership(self._commands, self._names, source, seconds=self._options.claim),
            overflow=self._options.overflow,
            clock=self._clock,
            closed=self._subscriptions.discard,
        )
        self._subscriptions.add(subscription)
        try:
            await subscription.register()
        except BaseException:
            await subscription.aclose()
            raise
        return subscription

    async def replies(self, receive: Callable[[str, Message | None], None], /) -> str:
        """The way back: one Redis channel for all answers."""
        self._check_open()
        return await self._answers.open(receive)

    async def request(self, message: Message, /) -> Receipt:
        """Send a request; nobody there is known at once."""
        self._check_open()
        (receipt,) = await self._publishing.publish((Post(message),))
        return receipt

    async def reply(self, answer: Message, /) -> None:
        """Send an answer to the Redis channel that the request named."""
        self._check_open()
        await self._answers.reply(answer)

    async def findings(self) -> Sequence[Finding]:
        """What the server is."""
        self._check_open()
        found = await facts(self._commands)
        return [
            *found.findings(),
            *found.readers(),
            Finding(
                "weak", "Pub/Sub keeps nothing: what nobody reads at that moment is gone; redis+streams:// keeps it"
            ),
        ]

    async def aclose(self) -> None:
        """Close every subscription and disconnect."""
        self._closed = True
        await asyncio.gather(*(subscription.aclose() for subscription in self._subscriptions))
        await self._answers.aclose()
        await self._commands.aclose()

    def _check_open(self) -> None:
        if self._closed or self._can is None:
            raise ConnectionFailed(f"{self} is not open")
