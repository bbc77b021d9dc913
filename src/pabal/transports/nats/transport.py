"""``nats://``: NATS without JetStream. What nobody reads at that moment is gone, so that delivery is at most once."""

from __future__ import annotations

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
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.options import ServerOptions, check
from pabal.transports.nats.publishing import Publishing
from pabal.transports.nats.requests import Requesting
from pabal.transports.nats.subjects import Subjects
from pabal.transports.nats.subscription import NatsSubscription

ROOM_FOR_HEADERS = 16 * 1024
"""Bytes of the server's limit that are left to the headers."""

LARGEST = 64 * 1024 * 1024 - ROOM_FOR_HEADERS
"""The largest body on a server that was told to take as much as one can be told."""


@dataclass(frozen=True)
class NatsOptions(ServerOptions):
    """Options of ``nats://`` beside those of the server: how many messages may wait in memory for one reader."""

    overflow: int = 10_000


class NatsTransport:
    """Publish and subscribe over one connection."""

    best = Capabilities(
        broadcast=True,
        groups=True,
        patterns=True,
        detects_unrouted=True,
        requests=True,
        examines=True,
        max_body=LARGEST,
    )

    def __init__(self, address: Address, /, *, clock: Clock) -> None:
        self._options = address.options(NatsOptions)
        check(address, self._options)
        if self._options.overflow < 1:
            raise ConfigurationError(f"bad URL {address}: overflow is at least 1 message")
        self._address = address
        self._clock = clock
        self._connection = Connection(address, self._options)
        self._subjects = Subjects(self._options.prefix)
        self._requesting = Requesting(self._connection, clock=clock)
        self._can = self.best
        self._publishing: Publishing | None = None
        self._subscriptions: set[NatsSubscription] = set()
        self._closed = False

    def __str__(self) -> str:
        return str(self._address)

    async def open(self) -> Capabilities:
        """Connect; the server tells how large a body it takes."""
        if self._closed:
            raise ConnectionFailed(f"{self} is closed")
        if self._publishing is None:
            await self._connection.open()
            most = max(1, self._connection.max_payload - ROOM_FOR_HEADERS)
            self._can = replace(self.best, max_body=min(most, LARGEST, self._options.max_body or most))
            self._publishing = Publishing(self._connection, self._subjects, max_body=self._can.max_body or 0)
        return self._can

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Send messages in order; returns once the server has them."""
        return await self._opened().publish(posts)

    async def subscribe(self, source: Source, /) -> NatsSubscription:
        """Register a reader; a group's members form a queue group."""
        self._opened()
        check_source(source.channel)
        if source.group is not None:
            check_group(source.group)
        if source.ordered:
            raise CapabilityError("NATS keeps no order; leave out ordered=True, or use jetstream://")
        if source.start is not None:
            raise CapabilityError("NATS keeps no log; leave out start=, or use jetstream://")
        subscription = NatsSubscription(
            self._connection,
            source,
            subjects=self._subjects,
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
        """The way back: a branch of this connection's private inbox."""
        self._opened()
        return self._requesting.replies(receive)

    async def request(self, message: Message, /) -> Receipt:
        """Send a request; that nobody is there comes by the way back."""
        self._opened()
        return await self._requesting.request(self._subjects.of(message.channel), message)

    async def reply(self, answer: Message, /) -> None:
        """Send an answer to the subject that the request named."""
        self._opened()
        await self._requesting.reply(answer)

    async def findings(self) -> Sequence[Finding]:
        """What the server is."""
        self._opened()
        return [
            Finding("ok", f"NATS {self._connection.version}"),
            Finding("ok", f"it takes messages of up to {self._connection.max_payload:,} bytes, headers included"),
            Finding("weak", "it keeps nothing: what nobody reads at that moment is gone; jetstream:// keeps it"),
        ]

    async def aclose(self) -> None:
        """Close every subscription and disconnect."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            await subscription.aclose()
        await self._connection.aclose()

    def _opened(self) -> Publishing:
        if self._closed or self._publishing is None:
            raise ConnectionFailed(f"{self} is not open")
        return self._publishing
