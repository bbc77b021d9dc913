"""One run of a scenario, as the user's code sees it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, overload

from pabal.bus import Bus
from pabal.model.channel import Channel
from pabal.model.codec import JsonCodec, compile_decoder
from pabal.model.dead import DeadLetter
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.model.names import check_source, matcher
from pabal.runtime.signature import function_name
from pabal.testing.exploring.handling import CALL, Inside
from pabal.testing.exploring.loop import LoopClock
from pabal.testing.exploring.places import here
from pabal.testing.exploring.process import OWNER
from pabal.testing.exploring.trace import Trace
from pabal.testing.exploring.world import World

T = TypeVar("T")


class Run:
    """One run of a scenario: what it has in common with its processes, and what came of it.

    Attributes:
        folder: an empty folder of this run, for the files that outlive a crash.
        state: what the explorer's `state` made for this run; it outlives a crash.
        bus: a bus outside of the processes, which publishes, asks and pulls; it runs no handlers.
        clock: the time. It stands still while anything goes on, and jumps when nothing does; so does `asyncio.sleep`.
        dead_letters: the dead letters there are, as of the last time that all was settled.
    """

    def __init__(self, world: World, folder: Path, state: Any) -> None:
        self.folder = folder
        self.state = state
        self.clock: LoopClock = world.clock
        self.dead_letters: list[DeadLetter] = []
        self.bus: Bus
        self._world = world

    @property
    def trace(self) -> Trace:
        """What has happened so far."""
        return self._world.trace

    @property
    def published(self) -> list[Message]:
        """Every message that was taken, of the scenario and of handlers, in order; twice where it was taken twice."""
        return list(self._world.ledger.published)

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
        decode = compile_decoder(self._world.codec or JsonCodec(), into)
        return [decode(message.body, message.content_type) for message in self.published if wanted(message.channel)]

    async def settled(self) -> None:
        """Return once all that was published is handled or dead, in every group, whatever time that takes.

        Raises PromiseBroken when it takes longer than the explorer's horizon.
        """
        with Inside():
            await self._world.stillness.settled()
            self.dead_letters = await self._world.letters()

    def at_death(self, close: Callable[[], object]) -> None:
        """Call `close` when the process that runs this dies, and in any case when the run ends.

        It stands for what the operating system does at the end of a process: give it what closes a file or a
        connection, so that what was not committed is undone.
        """
        (OWNER.get() or self._world.observer).closing.append(close)

    def effect(self, call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """`call`, plain or async, as an async function with a point before it and one after it.

        For what has an effect outside of the process and no await that really waits, such as ``connection.commit``.
        """
        name = function_name(call)
        world = self._world

        @wraps(call)
        async def effect(*args: Any, **options: Any) -> Any:
            process, within = OWNER.get(), CALL.get()
            if process is None:
                raise ConfigurationError(f"{name} is an effect of a process: call it in a handler or in the scenario")
            place = here(None if within is None else within.code)
            who = process.name if within is None else within.name
            with Inside():
                await world.points.reach(process, f"{who} calls {name}", "it has not begun", place)
                result = call(*args, **options)
                if inspect.isawaitable(result):
                    result = await result
                await world.points.reach(process, f"{name} is done", f"nothing after it in {who}", place)
            return result

        return effect
