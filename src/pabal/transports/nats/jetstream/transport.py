"""``jetstream://``: NATS with streams, which keep messages until every group has handled them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.clock import Clock
from pabal.model.errors import CapabilityError, ConfigurationError, ConnectionFailed, PabalError
from pabal.model.message import Message
from pabal.model.names import check_group, check_source
from pabal.model.transport import Finding, GroupId, GroupStatus, Post, Receipt, Source
from pabal.runtime.letter_channel import LetterChannel
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.advisories import Advisories
from pabal.transports.nats.jetstream.api import DISABLED, UNREACHED, Api, ApiError
from pabal.transports.nats.jetstream.asked import REQUESTS
from pabal.transports.nats.jetstream.consumers import Consumer, Consumers
from pabal.transports.nats.jetstream.copies import Copies
from pabal.transports.nats.jetstream.examining import examine
from pabal.transports.nats.jetstream.groups import Groups
from pabal.transports.nats.jetstream.holding import Holding
from pabal.transports.nats.jetstream.members import Members
from pabal.transports.nats.jetstream.options import JetStreamOptions, check_jetstream
from pabal.transports.nats.jetstream.publishing import StreamPublishing
from pabal.transports.nats.jetstream.purging import Purging
from pabal.transports.nats.jetstream.records import Records
from pabal.transports.nats.jetstream.removing import Removing
from pabal.transports.nats.jetstream.stored import Storing
from pabal.transports.nats.jetstream.streams import Streams
from pabal.transports.nats.jetstream.subscription import JetStreamSubscription
from pabal.transports.nats.requests import Requesting
from pabal.transports.nats.subjects import Subjects
from pabal.transports.nats.transport import LARGEST, ROOM_FOR_HEADERS

log = logging.getLogger("pabal.nats")

_PURGE_EVERY = 5.0


class JetStreamTransport:
    """Streams and their consumers over one connection."""

    best = Capabilities(
        broadcast=True,
        groups=True,
        durable=True,
        patterns=True,
        settles=Settles.EACH,
        order=Order.CHANNEL,
        counts_attempts=True,
        delays_retry=True,
        delays_publish=True,
        requests=True,
        administers=True,
        examines=True,
        replays=True,
        keeps_history=True,
        max_body=LARGEST,
    )

    def __init__(self, address: Address, /, *, clock: Clock) -> None:
        self._options = address.options(JetStreamOptions)
        check_jetstream(address, self._options)
        self._address = address
        self._clock = clock
        self._connection = Connection(address, self._options)
        self._subjects = Subjects(self._options.prefix)
        self._requesting = Requesting(self._connection, clock=clock)
        self._api = Api(self._connection)
        self._storing = Storing(self._connection)
        self._members = Members(self._connection)
        self._streams = Streams(self._api, self._options, self._subjects)
        self._consumers = Consumers(self._api, self._subjects, lease=self._options.lease, is_read=self._members.is_read)
        self._records = Records(
            self._api, self._storing, replicas=self._options.replicas or 1, storage=self._options.storage
        )
        self._publishing = StreamPublishing(
            self._connection, self._storing, self._streams, self._consumers, self._subjects
        )
        self._purging = Purging(self._api, self._streams, self._consumers, Removing(self._api, self._connection))
        park = LetterChannel(self, clock=clock).park
        self._groups = Groups(
            self._api,
            self._streams,
            self._consumers,
            self._members,
            self._purging,
            self._records,
            self._subjects,
            clock=clock,
            subscribe=self.subscribe,
            park=park,
        )
        self._advisories = Advisories(
            self._connection, self._consumers, self._subjects, find=self._groups.message, park=park, clock=clock
        )
        self._can: Capabilities | None = None
        self._subscriptions: set[JetStreamSubscription] = set()
        self._purger: asyncio.Task[None] | None = None
        self._closed = False

    def __str__(self) -> str:
        return str(self._address)

    async def open(self) -> Capabilities:
        """Connect; the server tells whether it has JetStream, and how large a body it takes."""
        if self._closed:
            raise ConnectionFailed(f"{self} is closed")
        if self._can is None:
            await self._connection.open()
            await self._check_jetstream()
            most = max(1, self._connection.max_payload - ROOM_FOR_HEADERS)
            most = self._publishing.max_body = min(most, LARGEST, self._options.max_body or most)
            self._can = replace(self.best, durable=self._options.storage == "file", max_body=most)
        return self._can

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Send messages in order; returns once their streams have them."""
        self._check_open()
        return await self._publishing.publish(posts)

    async def subscribe(self, source: Source, /) -> JetStreamSubscription:
        """Register a reader; a group is a durable consumer, a listener has one that ends with it."""
        self._check_open()
        check_source(source.channel)
        if source.group is not None:
            check_group(source.group)
        await self._connection.ready()
        try:
            subscription = await (self._listener(source) if source.group is None else self._member(source))
        except ApiError as error:
            raise ConfigurationError(f"{self}: {source.channel!r} cannot be read: {error}") from error
        self._subscriptions.add(subscription)
        try:
            await subscription.register()
        except BaseException:
            await subscription.aclose()
            raise
        if self._purger is None and self._options.purge:
            self._purger = asyncio.get_running_loop().create_task(self._purge(), name=f"pabal purge: {self}")
        return subscription

    async def replies(self, receive: Callable[[str, Message | None], None], /) -> str:
        """The way back: a branch of this connection's private inbox."""
        self._check_open()
        return self._requesting.replies(receive)

    async def request(self, message: Message, /) -> Receipt:
        """Send a request over NATS itself; that nobody is there comes by the way back."""
        self._check_open()
        return await self._requesting.request(f"{REQUESTS}.{self._subjects.of(message.channel)}", message)

    async def reply(self, answer: Message, /) -> None:
        """Send an answer to the subject that the request named."""
        self._check_open()
        await self._requesting.reply(answer)

    async def groups(self) -> Sequence[GroupStatus]:
        """Every durable group there is."""
        self._check_open()
        await self._connection.ready()
        return await self._groups.all()

    async def remove(self, group: GroupId, /, *, discard: bool = False) -> int:
        """Remove a group; its backlog goes to the channel of dead letters unless `discard`."""
        self._check_open()
        await self._connection.ready()
        return await self._groups.remove(group, discard=discard)

    async def findings(self) -> Sequence[Finding]:
        """What the server is, and what weakens the streams that are used here."""
        self._check_open()
        await self._connection.ready()
        return await examine(self._connection, self._streams, self._options)

    async def aclose(self) -> None:
        """Close every subscription and disconnect."""
        if self._connection.is_connected:
            await self._advisories.aclose()
        self._closed = True
        if self._purger is not None:
            self._purger.cancel()
            await asyncio.wait([self._purger])
        await asyncio.gather(*(subscription.aclose() for subscription in tuple(self._subscriptions)))
        await self._connection.aclose()

    async def _member(self, source: Source) -> JetStreamSubscription:
        stream = await self._streams.of(source.channel)
        await self._records.make()
        consumer = await self._consumers.of_group(stream, source)
        await self._advisories.hear(stream.name)
        holding = Holding(self._connection, self._records, consumer, clock=self._clock)

        async def restore() -> Consumer:
            self._streams.forget(source.channel)
            return await self._consumers.of_group(await self._streams.of(source.channel), source)

        return self._subscription(source, consumer, holding, restore)

    async def _listener(self, source: Source) -> JetStreamSubscription:
        if source.ordered:
            raise CapabilityError("a listener has no order; leave out ordered=True, or read it as a group")
        stream = await self._streams.of(source.channel)
        subject = self._subjects.of(source.channel)
        consumer, after = await self._consumers.of_listener(stream, subject, start=source.start)
        copies = Copies(after, clock=self._clock)

        async def restore() -> Consumer:
            self._streams.forget(source.channel)
            again = await self._streams.of(source.channel)
            await self._consumers.delete(again.name, subscription.consumer.name)
            last = await self._streams.last(again)
            made, _ = await self._consumers.of_listener(again, subject, after=copies.last if last >= copies.last else 0)
            return made

        subscription = self._subscription(source, consumer, copies, restore)
        return subscription

    def _subscription(
        self,
        source: Source,
        consumer: Consumer,
        holding: Holding | Copies,
        restore: Callable[[], Awaitable[Consumer]],
    ) -> JetStreamSubscription:
        return JetStreamSubscription(
            self._connection,
            source,
            consumer,
            holding,
            subjects=self._subjects,
            clock=self._clock,
            restore=restore,
            look=self._consumers.info,
            closed=self._left,
        )

    async def _left(self, subscription: JetStreamSubscription) -> None:
        self._subscriptions.discard(subscription)
        if subscription.lease is None and self._connection.is_connected:
            with suppress(PabalError):
                await self._consumers.delete(subscription.consumer.stream.name, subscription.consumer.name)

    async def _purge(self) -> None:
        """Purge now and then what all groups have handled of the streams that are read here."""
        while True:
            await asyncio.sleep(_PURGE_EVERY)
            read = {each.consumer.stream.name: each.consumer.stream for each in self._subscriptions if each.settled}
            for subscription in self._subscriptions:
                subscription.settled = 0
            for stream in read.values():
                try:
                    await self._purging.purge(stream)
                except PabalError as error:
                    log.warning("%s: the stream %s could not be purged: %s", self, stream.name, error)

    async def _check_jetstream(self) -> None:
        try:
            await self._api.ask("INFO")
        except ApiError as error:
            await self._connection.aclose()
            if error.code in (DISABLED, UNREACHED):
                raise ConfigurationError(
                    f"{self}: the server has no JetStream; start it with JetStream (-js), or use nats://"
                ) from error
            raise ConnectionFailed(f"{self}: {error}") from error
        except ConnectionFailed:
            await self._connection.aclose()
            raise

    def _check_open(self) -> None:
        if self._closed or self._can is None:
            raise ConnectionFailed(f"{self} is not open")
