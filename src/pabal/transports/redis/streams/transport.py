"""``redis+streams://``: streams and their consumer groups, so that delivery is at least once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities, Settles
from pabal.model.clock import Clock
from pabal.model.errors import CapabilityError, ConfigurationError, ConnectionFailed
from pabal.model.message import Message
from pabal.model.names import check_group, check_source, is_pattern
from pabal.model.transport import Finding, GroupId, GroupStatus, Post, Receipt, Source
from pabal.runtime.letter_channel import LetterChannel
from pabal.transports.redis.answers import Answers
from pabal.transports.redis.commands import Commands
from pabal.transports.redis.facts import check_server, facts
from pabal.transports.redis.membership import Membership
from pabal.transports.redis.names import Names
from pabal.transports.redis.options import LARGEST, ServerOptions, check, database, hosts
from pabal.transports.redis.publishing import Publishing
from pabal.transports.redis.server import Server
from pabal.transports.redis.streams.groups import Groups
from pabal.transports.redis.streams.keys import StreamKeys
from pabal.transports.redis.streams.listener import Listener
from pabal.transports.redis.streams.member import Member
from pabal.transports.redis.streams.mover import Mover, Place
from pabal.transports.redis.streams.publishing import Adding
from pabal.transports.redis.streams.reader import Reader
from pabal.transports.redis.streams.requests import Asked
from pabal.transports.redis.streams.subscription import StreamSubscription
from pabal.transports.redis.streams.trimmer import Trimmer
from pabal.transports.redis.subscription import PubSubSubscription

_MOST_ASKED = 10_000
"""How many requests may wait in memory for one reader."""

_CLAIM = 60


@dataclass(frozen=True)
class StreamsOptions(ServerOptions):
    """Options of ``redis+streams://`` beside those of the server.

    `lease` is in seconds. `keep` is for how many seconds entries stay that every group has done; `trim` false: they
    stay for ever.
    """

    lease: float = 30.0
    keep: float = 0.0
    trim: bool = True


class StreamsTransport:
    """Each channel a stream, each group a consumer group."""

    best = Capabilities(
        broadcast=True,
        groups=True,
        durable=True,
        settles=Settles.EACH,
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
        options = self._options = address.options(StreamsOptions)
        check(address, options)
        hosts(address)
        if options.lease <= 0:
            raise ConfigurationError(f"bad URL {address}: lease is more than 0 seconds")
        self._address = address
        self._clock = clock
        self._server = Server(address, options)
        self._commands = Commands(self._server, name="commands")
        self._mover = Mover(self._commands)
        self._trimmer = Trimmer(self._commands, options.prefix, keep=options.keep) if options.trim else None
        self._adding = Adding(
            self._commands, options.prefix, max_body=options.max_body, clock=clock, expect=self._mover.expect
        )
        # Requests are not added: they go by Pub/Sub, under names of their own. Pub/Sub knows no databases.
        self._names = Names(f"{options.prefix}pabal:ask:{database(address)}:")
        self._asking = Publishing(self._commands, self._names, max_body=options.max_body)
        self._answers = Answers(self._commands, self._names, clock=clock)
        self._groups = Groups(
            self._commands,
            options.prefix,
            self._names,
            trimmer=self._trimmer,
            clock=clock,
            park=LetterChannel(self, clock=clock).park,
        )
        self._subscriptions: set[StreamSubscription] = set()
        self._can: Capabilities | None = None
        self._closed = False

    def __str__(self) -> str:
        return str(self._address)

    async def open(self) -> Capabilities:
        """Connect; the server tells whether it keeps what it has taken."""
        if self._closed:
            raise ConnectionFailed(f"{self} is closed")
        if self._can is None:
            await self._commands.open()
            try:
                found = await facts(self._commands)
                check_server(found, self._server)
            except BaseException:
                await self._commands.aclose()
                raise
            self._can = replace(self.best, durable=found.durable, max_body=self._options.max_body)
        return self._can

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Add messages in order; returns once the server has them."""
        self._check_open()
        return await self._adding.publish(posts)

    async def subscribe(self, source: Source, /) -> StreamSubscription:
        """Join a consumer group, which is made if it is not there, or listen."""
        self._check_open()
        check_source(source.channel)
        if source.group is not None:
            check_group(source.group)
        if is_pattern(source.channel):
            raise CapabilityError("Redis reads single streams; subscribe to each channel, or use redis+pubsub://")
        if source.ordered:
            raise CapabilityError("Redis keeps no order of a stream for a group; leave out ordered=True")
        keys = StreamKeys(self._options.prefix, source.channel)
        part: Member | Listener
        if source.group is None:
            if source.start is not None:
                raise CapabilityError("a listener gets what comes from now on; leave out start=")
            part, places = Listener(self._commands, keys), [_place(keys)]
        else:
            part = Member(self._commands, keys, source.group, lease=self._options.lease, start=source.start)
            places = [_place(keys), part.to_move]

        def closed(subscription: StreamSubscription) -> None:
            self._subscriptions.discard(subscription)
            self._mover.leave(*places)

        subscription = StreamSubscription(
            part,
            source,
            reader=Reader(self._commands, name=f"{source.channel} @ {source.group or 'listener'}"),
            asked=self._asked(source),
            done=self._done,
            expect=self._mover.expect,
            closed=closed,
        )
        self._subscriptions.add(subscription)
        self._mover.watch(*places)
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
        """Send a request by Pub/Sub; nobody there is known at once."""
        self._check_open()
        (receipt,) = await self._asking.publish((Post(message),))
        return receipt

    async def reply(self, answer: Message, /) -> None:
        """Send an answer to the Redis channel that the request named."""
        self._check_open()
        await self._answers.reply(answer)

    async def groups(self) -> Sequence[GroupStatus]:
        """Every durable group there is."""
        self._check_open()
        return await self._groups.all()

    async def remove(self, group: GroupId, /, *, discard: bool = False) -> int:
        """Remove a group; its backlog goes to the channel of dead letters unless `discard`."""
        self._check_open()
        return await self._groups.remove(group, discard=discard)

    async def findings(self) -> Sequence[Finding]:
        """What the server is."""
        self._check_open()
        found = await facts(self._commands)
        return [*found.findings(), *found.durability()]

    async def aclose(self) -> None:
        """Close every subscription and disconnect."""
        self._closed = True
        await asyncio.gather(*(subscription.aclose() for subscription in self._subscriptions))
        await self._mover.aclose()
        if self._trimmer is not None:
            await self._trimmer.aclose()
        await self._answers.aclose()
        await self._commands.aclose()

    def _asked(self, source: Source) -> Asked:
        """What a reader is asked: as it would read it on Pub/Sub."""
        reads = Source(source.channel, source.group)
        return Asked(
            PubSubSubscription(
                self._server,
                reads,
                names=self._names,
                membership=Membership(self._commands, self._names, reads, seconds=_CLAIM),
                overflow=_MOST_ASKED,
                clock=self._clock,
            )
        )

    def _done(self, channel: str) -> None:
        if self._trimmer is not None:
            self._trimmer.done(channel)

    def _check_open(self) -> None:
        if self._closed or self._can is None:
            raise ConnectionFailed(f"{self} is not open")


def _place(keys: StreamKeys) -> Place:
    """Where messages of a channel wait that were published with a delay."""
    return (keys.later, keys.waiting, keys.stream)
