"""A bus for code without an event loop: its methods block, while a loop on a thread of its own does the work.

Nothing is written twice here: `waits`, `iterates` and `pulls` make a blocking method of an asynchronous one, with its
parameters and the type of what it gives.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar
from weakref import WeakSet

from pabal.client import Client
from pabal.model.clock import Clock
from pabal.model.dead import DeadLetter
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.runtime.consumer import Consumer, Pulled
from pabal.runtime.dead import DeadLetters
from pabal.runtime.loops import Loop, LoopThread, refuse_to_block
from pabal.trial import Trial

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    from pabal.bus import Bus

Reached = tuple[A, Loop]
"""Something of a bus, and the loop that it belongs to."""


class Bridged(Generic[A]):
    """What stands in a thread for something of a bus."""

    def __init__(self, reach: Callable[[], Reached[A]]) -> None:
        self._reach = reach


def _at(of: A, loop: Loop) -> Callable[[], Reached[A]]:
    return lambda: (of, loop)


def waits(method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Bridged[A], P], T]:
    """The method that waits for what `method` gives."""

    @wraps(method)
    def call(self: Bridged[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        of, loop = self._reach()
        return loop.run(method(of, *args, **kwargs))

    return call


def passes(method: Callable[Concatenate[A, P], T]) -> Callable[Concatenate[Bridged[A], P], T]:
    """The method that gives what `method` gives, which waits for nothing."""

    @wraps(method)
    def call(self: Bridged[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(self._reach()[0], *args, **kwargs)

    return call


def iterates(
    method: Callable[Concatenate[A, P], AsyncIterator[T]],
) -> Callable[Concatenate[Bridged[A], P], Iterator[T]]:
    """The method that iterates over what `method` gives."""

    @wraps(method)
    def call(self: Bridged[A], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        of, loop = self._reach()
        return loop.iterate(method(of, *args, **kwargs))

    return call


def pulls(
    method: Callable[Concatenate[A, P], AbstractAsyncContextManager[Consumer[T]]],
) -> Callable[Concatenate[Bridged[A], P], AbstractContextManager[BlockingConsumer[T]]]:
    """The method that enters what `method` gives."""

    @contextmanager
    def enter(of: AbstractAsyncContextManager[Consumer[T]], loop: Loop) -> Iterator[BlockingConsumer[T]]:
        with loop.entered(of) as consumer:
            yield BlockingConsumer(_at(consumer, loop))

    @wraps(method)
    def call(self: Bridged[A], /, *args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[BlockingConsumer[T]]:
        of, loop = self._reach()
        return enter(method(of, *args, **kwargs), loop)

    return call


class BlockingPulled(Bridged[Pulled[T]], Generic[T]):
    """A delivery in the hands of whoever pulled it, as `Pulled`."""

    @property
    def message(self) -> Message:
        """The message."""
        return self._reach()[0].message

    @property
    def value(self) -> T:
        """Its body as the channel's type."""
        return self._reach()[0].value

    @property
    def attempt(self) -> int:
        """1 for the first delivery to this group."""
        return self._reach()[0].attempt

    ack = waits(Pulled.ack)
    retry = waits(Pulled.retry)
    reject = waits(Pulled.reject)


class BlockingConsumer(Bridged[Consumer[T]], Generic[T]):
    """Pulls the messages of one group; made by `Blocking.consumer`."""

    _pull = waits(Consumer.pull)

    def pull(self, *, max: int = 1, wait: float = 0.0) -> list[BlockingPulled[T]]:
        """Take deliveries, as `Consumer.pull` does."""
        _, loop = self._reach()
        return [BlockingPulled(_at(one, loop)) for one in self._pull(max=max, wait=wait)]


class BlockingDeadLetters(Bridged[DeadLetters]):
    """The dead letters of a bus; `Blocking.dead_letters`."""

    list = iterates(DeadLetters.list)
    collect = waits(DeadLetters.collect)
    causes = waits(DeadLetters.causes)
    show = waits(DeadLetters.show)
    edit = waits(DeadLetters.edit)
    redrive = waits(DeadLetters.redrive)
    discard = waits(DeadLetters.discard)


class BlockingTrial(Bridged[Trial]):
    """What a test without an event loop sees of its bus; made by `Blocking.testing`."""

    @property
    def published(self) -> list[Message]:
        """Every message that was published since the test began, by the test and by handlers, in order."""
        return self._reach()[0].published

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters there are now, oldest first."""
        return self._reach()[0].dead_letters

    values = passes(Trial.values)
    settled = waits(Trial.settled)
    advance = waits(Trial.advance)


class Blocking(Bridged[Client]):
    """A bus for threads without an event loop; made by `Bus.blocking`.

    It connects on first use, once in each process, so that it may be made before a server forks its workers; any number
    of threads use it. It has a connection of its own, apart from the bus's, until it is closed, at the latest when the
    process ends. While the bus is under test, it reaches what is tested.
    """

    def __init__(self, bus: Bus, apart: Callable[[], Bus], under_test: Callable[[], Loop | None]) -> None:
        super().__init__(self._reach_bus)
        self._bus = bus
        self._apart = apart
        self._under_test = under_test
        self._opened: tuple[Bus, LoopThread] | None = None
        self._opening = threading.Lock()
        self._closed = False
        self.dead_letters = BlockingDeadLetters(self._reach_dead_letters)
        _known.add(self)

    publish = waits(Client.publish)
    publish_many = waits(Client.publish_many)
    request = waits(Client.request)
    gather = waits(Client.gather)
    consumer = pulls(Client.consumer)

    @contextmanager
    def testing(self, *, clock: Clock | None = None) -> Iterator[BlockingTrial]:
        """Run the bus's handlers on a private ``memory://`` for the length of a test, as `Bus.testing` does."""
        loop = LoopThread()
        try:
            with loop.entered(self._bus.testing(clock=clock)) as trial:
                yield BlockingTrial(_at(trial, loop))
        finally:
            loop.stop()

    def close(self) -> None:
        """Close the connection and end its thread; safe to call twice. Not while other threads are in a call.

        Raises ConfigurationError where an event loop runs, which this would block; it stays open then.
        """
        with self._opening:
            if self._opened is not None:
                refuse_to_block()
            self._closed = True
            opened, self._opened = self._opened, None
        atexit.unregister(self.close)
        if opened is not None:
            bus, loop = opened
            try:
                loop.run(bus.aclose())
            finally:
                loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reach_bus(self) -> Reached[Bus]:
        tested_on = self._under_test()
        if tested_on is not None:
            return self._bus, tested_on
        with self._opening:
            if self._closed:
                raise ConfigurationError("this is closed; make a new one with bus.blocking()")
            if self._opened is None:
                self._opened = self._apart(), LoopThread()
                atexit.register(self.close)
            return self._opened

    def _reach_dead_letters(self) -> Reached[DeadLetters]:
        bus, loop = self._reach_bus()
        return bus.dead_letters, loop

    def forked(self) -> None:
        """In a new process: what the other one opened is its own, and is neither used nor closed here."""
        if self._opened is not None:
            _of_other_processes.append(self._opened)
        self._opened = None
        self._opening = threading.Lock()


_known: WeakSet[Blocking] = WeakSet()
_of_other_processes: list[object] = []


def _forked() -> None:
    for blocking in _known:
        blocking.forked()


os.register_at_fork(after_in_child=_forked)
