"""The bus: one URL, its handlers, and their lifecycle."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Self, TypeVar, get_args, overload

from msgspec import structs

from pabal.model.address import Address
from pabal.model.channel import Channel
from pabal.model.clock import Clock, SystemClock
from pabal.model.codec import Codec, Decode, compile_decoder
from pabal.model.errors import CodecError, ConfigurationError, RequestFailed
from pabal.model.names import check_group
from pabal.model.transport import Receipt, Source, Start
from pabal.router import Router, check_start, source_of
from pabal.runtime.connection import Connection, ask, connect
from pabal.runtime.consumer import Consumer
from pabal.runtime.crew import Crew
from pabal.runtime.dead import Box, DeadLetters
from pabal.runtime.handler import Handler
from pabal.runtime.hiring import hire
from pabal.runtime.middleware import publishing_results
from pabal.runtime.parameters import arrange
from pabal.runtime.plan import Line
from pabal.runtime.publisher import OnUnrouted, Outgoing
from pabal.runtime.reports import DrainReport
from pabal.runtime.retry import Backoff
from pabal.runtime.signals import on_signals
from pabal.runtime.signature import function_name

log = logging.getLogger("pabal")

T = TypeVar("T")


class Bus(Router):
    """Publishes to a transport and runs the handlers that read from it.

    The first use connects; once closed it stays closed. It belongs to the event loop of its first use.

    Args:
        url: which transport (``sqlite:///todo.db``); None reads the environment's ``PABAL_URL``.
        name: the CloudEvents source of what is published.
        dead_letters: the URL of a transport that keeps the dead letters; None: where the transport keeps them.
        codec: how values become bodies.
        retry: the backoff of handlers that do not give their own.
        unrouted: what becomes of a message that nobody takes: a dead letter, nothing, or `Unrouted` is raised.
        grace: seconds that running handlers have to end in a drain.
        clock: the source of time, for tests.

    Raises ConfigurationError for a URL or option that is none.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str = "pabal",
        dead_letters: str | None = None,
        codec: Codec | None = None,
        retry: Backoff | None = None,
        unrouted: OnUnrouted = "dead-letter",
        grace: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        url = os.environ.get("PABAL_URL") if url is None else url
        if not url:
            raise ConfigurationError("no URL: give one, as in Bus('sqlite:///todo.db'), or set PABAL_URL")
        if unrouted not in get_args(OnUnrouted):
            raise ConfigurationError(f"unrouted is one of {', '.join(get_args(OnUnrouted))}, not {unrouted!r}")
        if not name or not name.isprintable():
            raise ConfigurationError("a bus's name is printable text")
        if not grace >= 0:
            raise ConfigurationError("grace is at least 0 seconds")
        self._address = Address(url)
        if dead_letters is not None:
            Address(dead_letters)
        self.name = name
        self._clock = clock or SystemClock()
        super().__init__(codec=codec)
        self._retry = retry or Backoff()
        self._grace = grace
        self._connect = partial(
            connect,
            url,
            dead_letters=dead_letters,
            name=name,
            codec=self._codec,
            clock=self._clock,
            unrouted=unrouted,
            retry=self._retry,
        )
        self._ask = partial(
            ask, url, dead_letters=dead_letters, unrouted=unrouted, retry=self._retry, clock=self._clock
        )
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._running = False
        self._crew: Crew | None = None
        self.dead_letters = DeadLetters(self._reach_dead_letters)

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

    async def publish_many(
        self, channel: Channel[T] | str, values: Iterable[T | Outgoing], *, timeout: float = 10.0
    ) -> Sequence[Receipt]:
        """Publish values in their order, as `Outgoing` where one has a key, delay or headers of its own.

        Returns a receipt each. Raises as `publish` does; ``receipts`` of a PublishError tell which were taken.
        """
        connection = self._connection or await self._open()
        return await connection.publisher.publish_many(channel, values, timeout=timeout)

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
        channel: Channel[Any] | str,
        value: object,
        *,
        reply: type[T],
        wait: float = 0.5,
        at_most: int | None = None,
    ) -> list[T | RequestFailed | CodecError]: ...
    @overload
    async def gather(
        self, channel: Channel[Any] | str, value: object, *, wait: float = 0.5, at_most: int | None = None
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
        `handler` does, and CapabilityError where the transport cannot keep it.
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

    async def plan(self, *, offline: bool = False) -> list[Line]:
        """What the transport keeps of what this bus and its handlers need, what is added to it, and what is refused.

        It asks the server and subscribes nothing; `offline` tells what the transport can do at best, without
        connecting. Raises ConfigurationError and ConnectionFailed.
        """
        readers = [handler.needs for handler in self._handlers]
        if self._connection is not None and not offline:
            return self._connection.plan(readers)
        return await self._ask(readers=readers, offline=offline)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Drain what runs, then close the connection; safe to call twice."""
        self._closed = True
        if self._crew is not None:
            await self._crew.drain()
        async with self._opening:
            connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Crew]:
        """Connect and run the handlers in the background; drain at the end.

        Yields the crew of workers; its ``report`` is set after the drain. When this connected the bus, it also
        closes it. Raises CapabilityError before the first message when the transport cannot keep what a handler
        needs, and at the end what made a worker stop by itself.
        """
        if self._running:
            raise ConfigurationError("this bus is running already")
        async with AsyncExitStack() as stack:
            self._running = True
            stack.callback(self._stopped)
            if self._connection is None:
                await self._open()
                stack.push_async_callback(self.aclose)
            crew = await hire(
                await self._open(),
                [self._at_work(handler) for handler in self._handlers],
                retry=self._retry,
                grace=self._grace,
                clock=self._clock,
                stack=stack,
            )
            self._crew = crew
            crew.start()
            yield crew
            crew.check()

    async def run(self) -> DrainReport:
        """Run the handlers until SIGTERM or SIGINT, drain, and report; a second signal ends at once.

        Raises what made a worker stop by itself, after the drain. Outside the main thread no signal is heard.
        """
        async with self.running() as crew:
            with on_signals(crew.stop):
                try:
                    await crew.wait()
                finally:
                    await crew.drain()
        log.info("%s", crew.report)
        return crew.report

    def _register(self, handler: Handler) -> None:
        if self._running:
            raise ConfigurationError(f"{handler.name}: register handlers before the bus runs")
        handler = structs.replace(handler, provided={**self._provided, **handler.provided})
        arrange(function_name(handler.function), handler.signature.further, handler.provided)
        super()._register(handler)

    def _at_work(self, handler: Handler) -> Handler:
        """A handler with this bus's middleware; its result is published outside of all."""
        results = () if handler.publishes is None else (publishing_results(handler.publishes),)
        return structs.replace(handler, around=(*results, *self._around_handling, *handler.around))

    def _check_unused(self, what: str) -> None:
        if self._connection is not None or self._running:
            raise ConfigurationError(f"{what} before the bus is used")

    def _stopped(self) -> None:
        self._running = False
        self._crew = None

    async def _open(self) -> Connection:
        async with self._opening:
            if self._closed:
                raise ConfigurationError("this bus is closed; make a new one")
            if self._connection is None:
                readers = [handler.needs for handler in self._handlers] if self._running else []
                self._connection = await self._connect(readers=readers)
                self._connection.surround(self._around_publishing)
            return self._connection

    async def _reach_dead_letters(self) -> tuple[Any, Box]:
        connection = self._connection or await self._open()
        return connection.transport, connection.box()

    def __repr__(self) -> str:
        return f"Bus({str(self._address)!r})"
