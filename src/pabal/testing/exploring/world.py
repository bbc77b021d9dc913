"""A simulated world: processes that die and are replaced, the store between them, and the time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from pabal.bus import Bus
from pabal.model.codec import Codec
from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.errors import PabalError
from pabal.runtime.context import Context as Handled
from pabal.runtime.crew import Crew
from pabal.runtime.handler import Handler
from pabal.runtime.signature import function_name
from pabal.testing.exploring.boundary import Boundary
from pabal.testing.exploring.handling import CALL, Call, stepped
from pabal.testing.exploring.ledger import Ledger
from pabal.testing.exploring.loop import LoopClock, SimulatedLoop
from pabal.testing.exploring.places import there
from pabal.testing.exploring.plan import Plan
from pabal.testing.exploring.points import Points
from pabal.testing.exploring.process import OWNER, Process
from pabal.testing.exploring.stillness import Stillness
from pabal.testing.exploring.stores import store_for
from pabal.testing.exploring.trace import Event, Trace

if TYPE_CHECKING:
    from pabal.testing.exploring.explorer import Setting


class World:
    """One run: who lives in it, and what they have in common.

    Attributes:
        calls: the calls of the user's code that have begun and not ended, each with its process.
        starting: how many processes are starting.
        over: the run is judged, and whatever goes on may end.
        codec: that of the processes' bus.
        client: the process of the scenario.
        observer: what looks on, and cannot die.
    """

    def __init__(self, setting: Setting, plan: Plan, folder: Path) -> None:
        self.setting = setting
        self.trace = Trace()
        self.ledger = Ledger()
        self.points = Points(self, plan)
        self.stillness = Stillness(self, horizon=setting.horizon)
        self.loop = SimulatedLoop(self.stillness.idle)
        self.clock = LoopClock(self.loop)
        self.context = copy_context()
        self.context.run(OWNER.set, None)
        self.store = store_for(setting.on, folder, self.clock, self.context)
        self.calls: dict[Call, Process] = {}
        self.starting = 0
        self.over = False
        self.codec: Codec | None = None
        self.client = Process("the scenario", self.context)
        self._processes: list[Process] = [self.client]
        self.observer = Process("the observer", self.context)
        self._observing: Boundary | None = None
        self._crews: list[Crew] = []
        self._stack = AsyncExitStack()
        self._main: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self._replacing: list[asyncio.Task[None]] = []
        self._shared: dict[str, Any] = {}

    def note(self, who: str, text: str, place: str = "", point: int | None = None) -> None:
        """Write down what happens now."""
        if not self.over:
            self.trace.events.append(Event(self.loop.time(), who, text, place, point))

    def run(self, play: Callable[[], Awaitable[None]]) -> None:
        """Run `play`, and end whatever goes on after it; raises what it raises, and what failed meanwhile."""
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            try:
                runner.run(self._play(play), context=self.context.copy())
            finally:
                runner.run(self._end(), context=self.context.copy())
                self.store.close()

    async def _play(self, play: Callable[[], Awaitable[None]]) -> None:
        self._main = asyncio.current_task()
        try:
            await play()
        except asyncio.CancelledError:
            if self._failure is None:
                raise
            raise self._failure from None

    def fail(self, failure: BaseException) -> None:
        """End the run with `failure`."""
        if self._failure is None and self._main is not None:
            self._failure = failure
            self._main.cancel()

    # Processes.

    async def begin(self) -> None:
        """Start one more process; returns once its handlers run."""
        process = Process(f"process {len(self._processes)}", self.context)
        self._processes.append(process)
        self.note(process.name, "starts")
        await self.loop.create_task(self._begin(process), context=process.context)
        process.mortal = True

    async def _begin(self, process: Process) -> None:
        self.starting += 1
        try:
            bus = self.setting.make()
            if inspect.isawaitable(bus):
                bus = await bus
            await self.stage(process, bus)
            self.codec = bus._codec  # noqa: SLF001 - of this library
        finally:
            self.starting -= 1

    async def stage(self, process: Process, bus: Bus) -> None:
        """Run `bus` in `process`, whose code this is."""
        staged = bus._staged(  # noqa: SLF001 - made for this
            self._connect(process), self.clock, prepare=self._stepping(process)
        )
        self._crews.append(await self._stack.enter_async_context(staged))

    def _connect(self, process: Process) -> Boundary:
        inner, context = self.store.connect(process)
        if self.setting.tamper is not None:
            inner = self.setting.tamper(inner, self.clock, self._shared)
        return Boundary(self, process, inner, context)

    def _stepping(self, process: Process) -> Callable[[Handler], Handler]:
        def prepare(handler: Handler) -> Handler:
            async def step(_: Handled, call_next: Callable[[], Any]) -> Any:
                return await self.step(process, handler.function, call_next())

            return structs.replace(handler, around=(step, *handler.around))

        return prepare

    async def step(self, process: Process, function: Any, coro: Any) -> Any:
        """Await a coroutine of the user's; each of its awaits is a point."""
        call = Call(function_name(function), inspect.unwrap(function))

        def gate(call: Call) -> Awaitable[object]:
            place = there(call.coroutine, call.code)
            return self.points.reach(process, f"{call.name} goes on", "what it awaited is done, nothing after", place)

        CALL.set(call)
        self.calls[call] = process
        try:
            return await stepped(call, coro, gate)
        finally:
            del self.calls[call]

    async def attempt(self, function: Any, argument: object) -> None:
        """Run the scenario in the client's process, until it has ended or died."""
        died = asyncio.Event()
        self.client.closing.append(died.set)
        coro = self.step(self.client, function, function(argument))
        task = self.loop.create_task(coro, context=self.client.context, name="the scenario")
        death = self.loop.create_task(died.wait(), name="the death of the scenario")
        await asyncio.wait([task, death], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()

    def die(self, process: Process) -> None:
        """A process is gone; another takes its place."""
        process.die()
        self.store.died(process)
        self.replace(process)

    def replace(self, process: Process) -> None:
        """Start a process in the place of this one; nobody goes on with a scenario."""
        if process is not self.client:
            task = self.loop.create_task(self.begin(), context=self.context.copy())
            task.add_done_callback(self._replaced, context=self.context.copy())
            self._replacing.append(task)

    def _replaced(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    # The end.

    async def letters(self) -> list[DeadLetter]:
        """The dead letters there are."""
        if self._observing is None:
            self._observing = self._connect(self.observer)
            await self._observing.open()
        return [letter async for letter in self._observing.letters(LetterFilter())]

    def check(self) -> None:
        """Raise what made a worker stop by itself."""
        for crew in self._crews:
            crew.check()

    async def _end(self) -> None:
        """Let everything end that is still there. Nothing of it reaches the store any more."""
        self.over = True
        self.loop.set_exception_handler(lambda *_: None)
        for process in self._processes:
            process.over = True
        for crew in self._crews:
            crew.stop()
            crew.stop()
        drains = [asyncio.ensure_future(crew.drain()) for crew in self._crews]
        await asyncio.sleep(0.0)
        self.points.let_go()
        for process in self._processes:
            process.thaw(self.loop)
        if drains:
            await asyncio.wait(drains)
        with suppress(PabalError):  # what made a worker stop was told before
            await self._stack.aclose()
        for process in (*self._processes, self.observer):
            process.close()
