"""The bus: one URL, its handlers, and their lifecycle."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Self, get_args

from msgspec import structs

from pabal.blocking import Blocking
from pabal.client import Client
from pabal.model.address import Address
from pabal.model.clock import Clock, SystemClock, VirtualClock
from pabal.model.codec import Codec
from pabal.model.errors import ConfigurationError
from pabal.model.transport import Transport
from pabal.router import Router
from pabal.runtime.box import Box
from pabal.runtime.connection import Connection, ask, connect
from pabal.runtime.consumer import OnPull
from pabal.runtime.crew import Crew
from pabal.runtime.dead import DeadLetters
from pabal.runtime.handler import Handler
from pabal.runtime.hiring import hire
from pabal.runtime.middleware import AroundPublishing, publishing_results
from pabal.runtime.parameters import arrange
from pabal.runtime.plan import Line, refuse
from pabal.runtime.publisher import OnUnrouted
from pabal.runtime.registry import make_transport
from pabal.runtime.reports import DrainReport
from pabal.runtime.retry import Backoff
from pabal.runtime.signals import on_signals
from pabal.runtime.signature import function_name
from pabal.trial import Trial, without_waiting

if TYPE_CHECKING:
    from pabal.telemetry import Telemetry

log = logging.getLogger("pabal")

_GRACE_IN_TESTS = 5.0


class Bus(Client, Router):
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
        telemetry: spans and metrics by OpenTelemetry, to its global providers or to those of a
            `pabal.telemetry.Telemetry`.

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
        telemetry: bool | Telemetry = False,
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
        self._dead_letters = dead_letters
        self.name = name
        self._clock = clock or SystemClock()
        self._telemetry = _telemetry(telemetry)
        super().__init__(codec=codec)
        self._retry = retry or Backoff()
        self._grace = grace
        self._connect = partial(
            connect,
            name=name,
            codec=self._codec,
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
        self._trial: Trial | None = None
        self.dead_letters = self._letters()

    def blocking(self) -> Blocking:
        """This bus for code without an event loop: ``with bus.blocking() as b: b.publish(...)``.

        Its methods block, while a loop on a thread of its own does the work; any number of threads may call them. It
        connects on first use, once in each process, and may be kept for the life of the process without ``with``.
        """
        return Blocking(self, self._apart, lambda: None if self._trial is None else self._trial.loop)

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
        """Drain what runs, then close the connection; safe to call twice. Under test, `testing` does that."""
        if self._trial is not None:
            return
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
        needs, and at the end what made a worker stop by itself. Under test the handlers run already, and go on.
        """
        if self._trial is not None and self._crew is not None:
            yield self._crew
            return
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

    @asynccontextmanager
    async def testing(self, *, clock: Clock | None = None) -> AsyncIterator[Trial]:
        """Run the handlers on a private ``memory://``, whatever the bus's URL, for the length of a test.

        What is published meanwhile goes there, by the test, by handlers and by an application under test, whose own
        `running` and ``async with bus`` change nothing. Batches do not wait to be full. Time stands still until
        `Trial.advance` turns it; `clock` is another source of time. Afterwards the bus is as new.

        Raises CapabilityError when the bus's own transport could not keep, at its best, what the handlers need, and
        ConfigurationError for a bus that is in use.
        """
        trial = Trial(clock or VirtualClock(time.time()), self._codec)
        async with self._staged(trial.transport, trial.clock, prepare=without_waiting, trial=trial) as crew:
            trial.watch(crew, self._handlers)
            yield trial

    @asynccontextmanager
    async def _staged(
        self, transport: Transport, clock: Clock, *, prepare: Callable[[Handler], Handler], trial: Trial | None = None
    ) -> AsyncIterator[Crew]:
        """Run the handlers, each as `prepare` makes it, on a transport that is given, whatever the bus's URL.

        Raises as `testing` does.
        """
        self._check_unused("test it")
        if self._closed:
            raise ConfigurationError("this bus is closed; make a new one")
        refuse(await self.plan(offline=True))
        handlers = [prepare(self._at_work(handler)) for handler in self._handlers]
        async with AsyncExitStack() as stack:
            stack.callback(self._tested)
            self._running, self._trial = True, trial
            self._connection = connection = await self._connect(
                transport,
                str(transport),
                dead_letters=None,
                clock=clock,
                readers=[handler.needs for handler in handlers],
            )
            stack.push_async_callback(connection.aclose)
            if self._sending():
                counting = () if trial is None else (trial.count,)
                connection.surround((*counting, *self._sending()), self._on_pull())
            self._crew = crew = await hire(
                connection,
                handlers,
                retry=self._retry,
                grace=min(self._grace, _GRACE_IN_TESTS),
                clock=clock,
                stack=stack,
            )
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
        for left in crew.report.unfinished:
            log.warning("unfinished after %.1f s in %s: %s", left.seconds, left.handler, left.message_id)
        log.info("drained in %.1f s: %s", crew.report.seconds, crew.report.counts)
        return crew.report

    def _register(self, handler: Handler) -> None:
        if self._running:
            raise ConfigurationError(f"{handler.name}: register handlers before the bus runs")
        handler = structs.replace(handler, provided={**self._provided, **handler.provided})
        arrange(function_name(handler.function), handler.signature.further, handler.provided)
        super()._register(handler)

    def _at_work(self, handler: Handler) -> Handler:
        """A handler with this bus's middleware; its result is published outside of that, within what is traced."""
        around = [*self._around_handling, *handler.around]
        if handler.publishes is not None:
            around.insert(0, publishing_results(handler.publishes))
        if self._telemetry is not None:
            around.insert(0, self._telemetry.handling(self._address, handler))
        return structs.replace(handler, around=tuple(around))

    def _sending(self) -> tuple[AroundPublishing, ...]:
        """The middleware of what this bus sends; what is traced is what leaves it."""
        telemetry = () if self._telemetry is None else (self._telemetry.publishing(self._address),)
        return (*self._around_publishing, *telemetry)

    def _on_pull(self) -> OnPull | None:
        return None if self._telemetry is None else self._telemetry.pulling(self._address)

    def _check_unused(self, what: str) -> None:
        if self._connection is not None or self._running:
            raise ConfigurationError(f"{what} before the bus is used")

    def _stopped(self) -> None:
        self._running = False
        self._crew = None

    def _apart(self) -> Bus:
        """The same bus, with a connection of its own."""
        other = copy(self)
        other._connection = other._crew = other._trial = None  # noqa: SLF001 - of this class
        other._opening = asyncio.Lock()  # noqa: SLF001
        other._closed = other._running = False  # noqa: SLF001
        other.dead_letters = other._letters()  # noqa: SLF001
        return other

    def _tested(self) -> None:
        """Be as new."""
        self._stopped()
        self._trial = self._connection = None
        self._opening = asyncio.Lock()  # the next test may have another event loop

    async def _open(self) -> Connection:
        async with self._opening:
            if self._closed:
                raise ConfigurationError("this bus is closed; make a new one")
            if self._connection is None:
                readers = [handler.needs for handler in self._handlers] if self._running else []
                self._connection = await self._connect(
                    make_transport(self._address.url, clock=self._clock),
                    self._address.url,
                    dead_letters=self._dead_letters,
                    clock=self._clock,
                    readers=readers,
                )
                self._connection.surround(self._sending(), self._on_pull())
            return self._connection

    def _letters(self) -> DeadLetters:
        return DeadLetters(self._reach_dead_letters, codec=self._codec, clock=self._clock)

    async def _reach_dead_letters(self) -> Box:
        connection = self._connection or await self._open()
        return connection.box()

    def __repr__(self) -> str:
        return f"Bus({str(self._address)!r})"


def _telemetry(wanted: bool | Telemetry) -> Telemetry | None:  # noqa: FBT001 - as Bus is given it
    if wanted is False:
        return None
    try:
        from pabal.telemetry import Telemetry  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"telemetry needs the module {error.name!r}, which is not installed: pip install 'pabal[telemetry]'"
        ) from error
    return Telemetry() if wanted is True else wanted
