"""Publishing, asking and pulling over an open connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import UnionType
from typing import Any, TypeVar, Unpack, overload

from pabal.model.channel import Channel
from pabal.model.codec import Codec, Decode, compile_decoder
from pabal.model.errors import CodecError, ConfigurationError, RequestFailed
from pabal.model.names import check_group
from pabal.model.transport import Receipt, Source, Start
from pabal.router import check_start, source_of
from pabal.runtime.connection import Connection
from pabal.runtime.consumer import Consumer
from pabal.runtime.context import RequestOptions
from pabal.runtime.publisher import Outgoing
from pabal.runtime.retry import Backoff

R = TypeVar("R")
T = TypeVar("T")


class Client(ABC):
    """What a bus does for whoever calls it; who inherits opens the connection."""

    _codec: Codec
    _retry: Backoff
    _connection: Connection | None

    @abstractmethod
    async def _open(self) -> Connection:
        """Connect on the first call; returns the connection."""

    async def publish(
        self,
        channel: Channel[T] | str,
        value: T,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float | None = None,
        expires: float | None = None,
        id: str | None = None,
        timeout: float = 10.0,
    ) -> Receipt:
        """Publish one value; returns once the transport has taken responsibility for it.

        Args:
            channel: where to.
            value: the body: bytes and text as they are, else JSON.
            key: messages of one key keep their order for ordered handlers.
            headers: the user's own.
            delay: seconds before anyone gets it.
            expires: seconds after which it becomes a dead letter where it is still undelivered.
            id: the message's id, up to 200 characters; None: a new UUIDv7.
            timeout: seconds to wait for the transport.

        Raises ConfigurationError or CodecError for what cannot be sent, CapabilityError where the transport cannot
        delay, ConnectionFailed, and PublishError (PublishTimeout, MessageTooLarge, Unrouted).
        """
        connection = self._connection or await self._open()
        message = connection.publisher.message(channel, value, key=key, headers=headers, expires=expires, id=id)
        return await connection.publisher.publish(message, delay=delay, timeout=timeout)

    @overload
    async def publish_many(
        self, channel: Channel[T], values: Iterable[T | Outgoing[T]], *, timeout: float = 10.0
    ) -> Sequence[Receipt]: ...
    @overload
    async def publish_many(
        self, channel: str, values: Iterable[object], *, timeout: float = 10.0
    ) -> Sequence[Receipt]: ...
    async def publish_many(
        self, channel: Channel[Any] | str, values: Iterable[object], *, timeout: float = 10.0
    ) -> Sequence[Receipt]:
        """Publish values in their order, as `Outgoing` where one has a key, delay or headers of its own.

        Returns a receipt each. Raises as `publish` does; ``receipts`` of a PublishError tell which were taken.
        """
        connection = self._connection or await self._open()
        return await connection.publisher.publish_many(channel, values, timeout=timeout)

    @overload
    async def request(
        self, channel: Channel[T] | str, value: T, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> R: ...
    @overload
    async def request(
        self, channel: Channel[T] | str, value: T, *, reply: UnionType, **options: Unpack[RequestOptions]
    ) -> Any: ...
    @overload
    async def request(self, channel: Channel[T] | str, value: T, **options: Unpack[RequestOptions]) -> Any: ...
    async def request(
        self,
        channel: Channel[Any] | str,
        value: object,
        *,
        reply: Any = Any,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Any:
        """Ask whoever reads `channel`; returns the first answer as type `reply`.

        The request expires with its timeout. Raises NoResponders, RequestTimeout, RequestFailed when the handler
        failed, CodecError for an answer of another type, CapabilityError where the transport has no requests.
        """
        connection = self._connection or await self._open()
        message = connection.publisher.message(channel, value, key=key, headers=headers, expires=timeout)
        return await connection.requester.request(message, reply=reply, timeout=timeout)

    @overload
    async def gather(
        self,
        channel: Channel[T] | str,
        value: T,
        *,
        reply: type[R],
        wait: float = 0.5,
        at_most: int | None = None,
    ) -> list[R | RequestFailed | CodecError]: ...
    @overload
    async def gather(
        self, channel: Channel[T] | str, value: T, *, wait: float = 0.5, at_most: int | None = None
    ) -> list[Any]: ...
    async def gather(
        self,
        channel: Channel[Any] | str,
        value: object,
        *,
        reply: Any = Any,
        wait: float = 0.5,
        at_most: int | None = None,
    ) -> list[Any]:
        """Ask everybody who reads `channel`; returns the answers of all groups and listeners, in the order they came.

        It waits `wait` seconds, or until `at_most` answers have come, or as many as were asked. One that failed is in
        the list as RequestFailed, one of another type as CodecError; nobody there: an empty list. Raises RequestTimeout
        when it could not ask in that time, CapabilityError where the transport has no requests.
        """
        if at_most is not None and at_most < 1:
            raise ConfigurationError("gather needs at_most of at least 1, or None")
        connection = self._connection or await self._open()
        message = connection.publisher.message(channel, value, expires=wait)
        return await connection.requester.gather(message, reply=reply, wait=wait, at_most=at_most)

    @overload
    def consumer(
        self, source: Channel[T], *, group: str, retry: Backoff | None = None, start: Start | None = None
    ) -> AbstractAsyncContextManager[Consumer[T]]: ...
    @overload
    def consumer(
        self, source: str, *, group: str, type: type[T], retry: Backoff | None = None, start: Start | None = None
    ) -> AbstractAsyncContextManager[Consumer[T]]: ...
    @overload
    def consumer(
        self, source: str, *, group: str, retry: Backoff | None = None, start: Start | None = None
    ) -> AbstractAsyncContextManager[Consumer[Any]]: ...
    def consumer(
        self,
        source: Channel[Any] | str,
        *,
        group: str,
        type: Any = Any,
        retry: Backoff | None = None,
        start: Start | None = None,
    ) -> AbstractAsyncContextManager[Consumer[Any]]:
        """Pull the messages of a group by hand, for the length of an ``async with``.

        What was pulled and not settled goes back to the group at its end. `start` is that of `handler`. Raises as
        `handler` does, ConfigurationError for a group that is ordered, whose messages only handlers can keep in order,
        and CapabilityError where the transport cannot keep it.
        """
        check_start(start)
        wanted = Source(source_of(source), check_group(group), window=0, start=start)
        into = source.type if isinstance(source, Channel) else type
        try:
            decode = compile_decoder(self._codec, into)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"bodies cannot be decoded to {into!r}: {error}") from error
        return self._consume(wanted, decode, retry or self._retry)

    @asynccontextmanager
    async def _consume(self, source: Source, decode: Decode, retry: Backoff) -> AsyncIterator[Consumer[Any]]:
        connection = self._connection or await self._open()
        consumer = await connection.consume(source, decode=decode, retry=retry)
        try:
            yield consumer
        finally:
            await connection.leave(consumer)
