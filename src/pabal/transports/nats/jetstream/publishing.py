"""Publishing to channels of streams."""

from __future__ import annotations

from collections.abc import Sequence

from pabal.model.errors import (
    CodecError,
    ConfigurationError,
    MessageTooLarge,
    PabalError,
    PublishError,
)
from pabal.model.transport import GroupId, Post, Receipt
from pabal.runtime.letter_channel import CHANNEL
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.consumers import Consumers
from pabal.transports.nats.jetstream.names import consumer_name
from pabal.transports.nats.jetstream.stored import NoStream, Outcome, Stored, Storing
from pabal.transports.nats.jetstream.streams import Stream, Streams
from pabal.transports.nats.subjects import Subjects
from pabal.transports.nats.wire import stored_headers_of


class StreamPublishing:
    """Sends posts to the streams of their channels, and makes receipts of the server's answers.

    `max_body` is the largest body in bytes.
    """

    def __init__(
        self,
        connection: Connection,
        storing: Storing,
        streams: Streams,
        consumers: Consumers,
        subjects: Subjects,
    ) -> None:
        self.max_body = 0
        self._connection = connection
        self._storing = storing
        self._streams = streams
        self._consumers = consumers
        self._subjects = subjects

    async def publish(self, posts: Sequence[Post]) -> Sequence[Receipt]:
        """Send messages in order; returns once each is kept, or refused. Raises ConnectionFailed when none was sent."""
        await self._connection.ready()
        refused = await self._without_stream(posts)
        messages: list[tuple[str, bytes, bytes]] = []
        sent: list[int] = []
        for index, post in enumerate(posts):
            error = refused.get(post.message.channel) or (
                None if post.group is None else await self._without_group(post.group)
            )
            if error is None:
                try:
                    messages.append(self._encoded(post))
                    sent.append(index)
                    continue
                except (CodecError, MessageTooLarge) as wrong:
                    error = wrong
            refused[index] = error
        outcomes: dict[int, Outcome] = {}
        if messages:
            outcomes = dict(zip(sent, await self._stored(posts, sent, messages), strict=True))
        return [
            _receipt(post, outcomes[index]) if index in outcomes else Receipt(post.message.id, error=refused[index])
            for index, post in enumerate(posts)
        ]

    async def _stored(
        self, posts: Sequence[Post], sent: Sequence[int], messages: Sequence[tuple[str, bytes, bytes]]
    ) -> list[Outcome]:
        outcomes = await self._storing.store(messages)
        again = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, NoStream)]
        if again:
            # A stream was removed since it was looked up.
            for at in again:
                self._streams.forget(posts[sent[at]].message.channel)
            refused = await self._without_stream([posts[sent[at]] for at in again])
            again = [at for at in again if posts[sent[at]].message.channel not in refused]
            for at, outcome in zip(again, await self._storing.store([messages[at] for at in again]), strict=True):
                outcomes[at] = outcome
        return outcomes

    async def _without_stream(self, posts: Sequence[Post]) -> dict[str | int, PabalError]:
        """The channels that can have no stream, and why; the others have one now."""
        refused: dict[str | int, PabalError] = {}
        for channel in dict.fromkeys([post.message.channel for post in posts]):
            try:
                await self._streams.of(channel)
            except ConfigurationError as error:
                refused[channel] = error
        return refused

    async def _without_group(self, group: GroupId) -> PabalError | None:
        """Why a post for one group would reach nobody."""
        try:
            stream: Stream = await self._streams.of(group.source)
        except ConfigurationError as error:
            return error
        for name in (consumer_name(group.source, group.name), group.name):
            if "." not in name and await self._consumers.info(stream.name, name) is not None:
                return None
        return PublishError(f"there is no group {group.name!r} on {group.source!r}")

    def _encoded(self, post: Post) -> tuple[str, bytes, bytes]:
        message = post.message
        headers = stored_headers_of(post)
        size = len(message.body)
        # A dead letter may use the room that is left to headers: others publish larger bodies than we do.
        too_large = size > self.max_body and message.channel != CHANNEL
        if too_large or size + len(headers) > self._connection.max_payload:
            raise MessageTooLarge(f"the body has {size} bytes; {self.max_body} are the most here")
        return self._subjects.of(message.channel), headers, message.body


def _receipt(post: Post, outcome: Outcome) -> Receipt:
    if not isinstance(outcome, Stored):
        return Receipt(post.message.id, error=outcome)
    if outcome.duplicate and post.redrive:
        # Taken for the same redrive as before: it delivers nothing, and its letter may not go.
        return Receipt(
            post.message.id,
            error=PublishError(f"{outcome.stream} has this message already and would not deliver it again"),
        )
    return Receipt(post.message.id)
