"""A bus under test: its handlers run on a private ``memory://``, and the test waits until all is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar, overload

from msgspec import structs

from pabal.model.channel import Channel
from pabal.model.clock import Clock, VirtualClock
from pabal.model.codec import Codec, compile_decoder
from pabal.model.dead import DeadLetter
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.model.names import check_source, matcher
from pabal.model.transport import GroupId, Receipt
from pabal.runtime.crew import Crew
from pabal.runtime.handler import Handler
from pabal.runtime.loops import Loop
from pabal.runtime.middleware import Send
from pabal.transports.memory.watched import WatchedTransport

T = TypeVar("T")


class Trial:
    """What a test sees of its bus; made by `Bus.testing`."""

    def __init__(self, clock: Clock, codec: Codec) -> None:
        self._changed = asyncio.Event()
        self.transport = WatchedTransport(clock=clock, settled=self._changed.set)
        self.clock = clock
        self.loop = Loop(asyncio.get_running_loop())
        self._codec = codec
        self._crew: Crew | None = None
        self._groups: set[GroupId] = set()
        self._publishing = 0

    @property
    def published(self) -> list[Message]:
        """Every message that was published since the test began, by the test and by handlers, in order."""
        return list(self.transport.published)

    @overload
    def values(self, source: Channel[T]) -> list[T]: ...
    @overload
    def values(self, source: str, type: type[T]) -> list[T]: ...
    @overload
    def values(self, source: str) -> list[Any]: ...
    def values(self, source: Channel[Any] | str, type: Any = Any) -> list[Any]:
        """What was published to a channel or pattern, as its type, in order.

        Raises CodecError when a body is of another type.
        """
        into = source.type if isinstance(source, Channel) else type
        wanted = matcher(source.name if isinstance(source, Channel) else check_source(source))
        decode = compile_decoder(self._codec, into)
        return [
            decode(message.body, message.content_type)
            for message in self.transport.published
            if wanted(message.channel)
        ]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters there are now, oldest first."""
        return self.transport.parked()

    async def settled(self, *, patience: float = 5.0) -> None:
        """Return once nothing is ready, due, in a handler's hands or being published any more.

        What waits for its time does not count: turn the clock with `advance`. Raises TimeoutError, whose text names
        what still moves, when that takes longer than `patience` seconds of the machine's own time, and what made a
        worker stop by itself.
        """
        try:
            async with asyncio.timeout(patience):
                while self._is_moving():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"not settled within {patience:g} s: {'; '.join(self._moving())}") from None

    async def advance(self, seconds: float, *, patience: float = 5.0) -> None:
        """Turn the clock, and settle whatever falls due on the way at its own time.

        Raises as `settled` does, and ConfigurationError where the clock is none that can be turned.
        """
        clock = self.clock
        if not isinstance(clock, VirtualClock):
            raise ConfigurationError("this test runs on a clock that cannot be turned; leave out clock=")
        end = clock.time() + seconds
        await self.settled(patience=patience)
        while (due := clock.next_due) is not None and due <= end:
            clock.advance_to(due)
            await self.settled(patience=patience)
        clock.advance_to(end)

    def watch(self, crew: Crew, handlers: Iterable[Handler]) -> None:
        """Wait for these from now on."""
        self._crew = crew
        self._groups = {GroupId(handler.source, handler.group) for handler in handlers if handler.group is not None}

    async def count(self, message: Message, call_next: Send) -> Receipt:
        """Middleware that tells what is being published."""
        self._publishing += 1
        try:
            return await call_next(message)
        finally:
            self._publishing -= 1
            self._changed.set()

    def _is_moving(self) -> bool:
        if self._crew is not None:
            self._crew.check()
        return self._publishing > 0 or not self.transport.is_still(self._groups)

    def _moving(self) -> Iterable[str]:
        for status in self.transport.moving(self._groups):
            name = f"{status.name} of {status.source}" if status.name else f"a listener of {status.source}"
            yield f"{name} has {status.ready} ready and {status.leased} in hand"
        for left in () if self._crew is None else self._crew.unfinished():
            yield f"{left.handler} is handling {left.message_id}"
        if self._publishing:
            yield f"{self._publishing} being published"


def without_waiting(handler: Handler) -> Handler:
    """A handler whose batches are what is there: nothing but the test brings more."""
    if handler.batch is None:
        return handler
    return structs.replace(handler, batch=structs.replace(handler.batch, wait=0.0))
