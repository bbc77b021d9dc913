"""The crash-point explorer: one scenario, run again and again, with something else going wrong each time."""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from pabal.bus import Bus
from pabal.model.clock import Clock
from pabal.model.errors import ConfigurationError
from pabal.model.transport import Transport
from pabal.runtime.loops import refuse_to_block
from pabal.runtime.signature import function_name
from pabal.testing.broken import PromiseBroken
from pabal.testing.exploring.plan import KINDS, Fault, FaultKind, Plan
from pabal.testing.exploring.run import Run
from pabal.testing.exploring.trace import Point, Trace
from pabal.testing.exploring.world import World

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Make: TypeAlias = Callable[[Run], "Bus | Awaitable[Bus]"]
"""Makes what a process has when it starts: a bus with its handlers."""

Scenario: TypeAlias = Callable[[Run], Awaitable[object]]
Check: TypeAlias = Callable[[Run], object]
Tamper: TypeAlias = Callable[[Transport, Clock, dict[str, Any]], Transport]

HORIZON = 3600.0
_MEMORY = "/dev/shm"  # noqa: S108 - a folder is made in there


class Setting(msgspec.Struct, frozen=True):
    """What a run is made with."""

    on: str
    make: Callable[[], Any]
    tamper: Tamper | None
    horizon: float


class ScenarioBroken(PromiseBroken):
    """A promise did not hold in a run; its text tells which, after what, and how to see it again.

    Attributes:
        plan: what was to go wrong; `Explorer.run` takes it, or its text.
        trace: what happened.
        why: the first line: the promise.
    """

    def __init__(self, why: str, plan: Plan, trace: Trace) -> None:
        super().__init__(_report(why, plan, trace))
        self.why = why
        self.plan = plan
        self.trace = trace


class Explorer:
    """Runs a scenario with crashes, duplicates, delays and reorderings at every point, and checks what came of it.

        def shop(run: Run) -> Bus: ...               # a process: a bus with its handlers

        async def scenario(run: Run) -> None:
            await run.bus.publish("orders.placed", "order 7")

        Explorer(shop, scenario).each()

    A *point* is a moment at which something can go wrong: before and after each publish, each settlement and each
    `Run.effect`; when messages arrive; and whenever a handler goes on after an await of its own. Points are numbered in
    the order in which a run reaches them.

    What is simulated. Each process has its tasks on one event loop, whose time stands still while anything goes on. A
    process that crashes is not cancelled: nothing of it runs on, no ``except``, no ``finally``, and nothing is settled
    or given back; what it was just sending arrives or does not, as the point says. Then `make` makes the next process,
    and the store finds out about the dead one by its lease of 30 seconds. On ``memory`` the broker stands outside of
    the processes. On ``sqlite`` every process has a message box of its own on one file, worked in the event loop
    instead of on a thread; a crash closes the file, which undoes what was not committed. A crash of the machine, or of
    the store, is not simulated.

    What is not seen: awaits that do not wait (declare them with `Run.effect`), those of tasks that a handler starts
    but for their publishes, and plain ``def`` handlers between their publishes: a thread cannot be stopped. Threads and
    sockets of yours are waited for in real time, and are as repeatable as they are.

    Args:
        make: makes the bus of a process, and whatever else is in its memory; it may be async. What is to outlive a
            crash stands outside of it, in files of `Run.folder`, say. Or a bus: what its handlers share is kept then.
        scenario: what happens: it publishes, waits until all is `settled`, publishes again. It ends by itself.
        promise: one of your own, plain or async, called when all is done: it raises AssertionError, or returns False,
            where it is broken. The ledger's is always checked: what a publisher was told is taken ends handled, or as a
            dead letter, in every group; and what was acknowledged does not come again.
        state: makes what outlives a crash beside files, a fake of a service outside, say; `Run.state` has it, anew in
            each run.
        on: what the messages are kept in: ``memory``, or ``sqlite``, a message box in a file.
        fragile: the scenario is a process as well and may die, at any of its own awaits; nobody goes on with it.
        processes: how many processes there are at first.
        horizon: seconds of the run's time within which all has to be done.
        tamper: puts something before each transport, as the conformance kit's saboteurs do.
    """

    def __init__(
        self,
        make: Make | Bus,
        scenario: Scenario,
        promise: Check | None = None,
        *,
        state: Callable[[], object] | None = None,
        on: Literal["memory", "sqlite"] = "memory",
        fragile: bool = False,
        processes: int = 1,
        horizon: float = HORIZON,
        tamper: Tamper | None = None,
    ) -> None:
        if on not in ("memory", "sqlite"):
            raise ConfigurationError(f"an explorer runs on memory or sqlite, not {on!r}")
        if processes < 1 or horizon <= 0:
            raise ConfigurationError("an explorer needs at least one process, and a horizon of more than 0 seconds")
        self._make = make
        self._scenario = scenario
        self._promise = promise
        self._state = state
        self._on = on
        self._fragile = fragile
        self._processes = processes
        self._horizon = horizon
        self._tamper = tamper

    def run(self, plan: Plan | str = "") -> Trace:
        """Run the scenario once, with what `plan` lets go wrong; returns what happened.

        The same plan gives the same run, as far as your own code is not left to chance; `random` is seeded. Raises
        ScenarioBroken, and ConfigurationError where an event loop runs already: call it in a plain ``def`` test.
        """
        refuse_to_block()
        plan = Plan.parse(plan) if isinstance(plan, str) else plan
        with TemporaryDirectory(prefix="pabal-explore-", dir=_memory_disk()) as folder, _seeded():
            world = World(Setting(self._on, lambda: self._made(run), self._tamper, self._horizon), plan, Path(folder))
            run = Run(world, Path(folder), None if self._state is None else self._state())
            try:
                world.run(lambda: self._play(world, run))
            except Exception as error:
                raise ScenarioBroken(_why(error), plan, world.trace) from error
        return world.trace

    def points(self) -> list[Point]:
        """The points of a run in which nothing goes wrong. Raises as `run`."""
        return self.run().points

    def each(self, *kinds: FaultKind) -> int:
        """Let each kind of fault happen at every single point where it can, one a run; without kinds, all of them.

        Returns how many runs that were. Raises as `run`.
        """
        points = self.points()
        plans = [
            Plan((Fault(point.number, kind),))
            for kind in kinds or KINDS
            for point in points
            if point.doubles or kind != "duplicate"
        ]
        for plan in plans:
            self.run(plan)
        return len(plans) + 1

    def plans(self, *, most: int = 3) -> SearchStrategy[Plan]:
        """A hypothesis strategy of plans with up to `most` faults, which shrinks to few, early and simple ones.

        Raises as `run`, and ConfigurationError where hypothesis is not installed.
        """
        st = _hypothesis().strategies
        last = 2 * len(self.points())  # what a crash undoes is done again
        faults = st.builds(Fault, point=st.integers(1, max(1, last)), kind=st.sampled_from(KINDS))
        unique = st.lists(faults, min_size=1, max_size=most, unique_by=lambda fault: fault.point)
        plans: SearchStrategy[Plan] = unique.map(lambda chosen: Plan(tuple(sorted(chosen))))
        return plans

    def search(self, examples: int = 200, *, seed: int = 0, most: int = 3) -> None:
        """Let several things go wrong in one run, with `examples` plans that `seed` decides; hypothesis shrinks them.

        Raises as `run`, for the smallest plan that breaks a promise, and ConfigurationError without hypothesis.
        """
        hypothesis = _hypothesis()
        settings = hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )

        def attempt(plan: Plan) -> None:
            self.run(plan)

        hypothesis.seed(seed)(settings(hypothesis.given(self.plans(most=most))(attempt)))()

    def _made(self, run: Run) -> Any:
        if isinstance(self._make, Bus):
            self._make._tested()  # noqa: SLF001 - of this library
            return self._make
        return self._make(run)

    async def _play(self, world: World, run: Run) -> None:
        for _ in range(self._processes):
            await world.begin()
        client = Bus(world.store.url, name="scenario", codec=world.codec)
        await world.loop.create_task(world.stage(world.client, client), context=world.client.context)
        run.bus = client
        world.client.mortal = self._fragile
        await world.attempt(self._scenario, run)
        await run.settled()
        world.check()
        broken = world.ledger.broken(run.dead_letters)
        if broken is not None:
            raise PromiseBroken(f"Expected that no message is lost in silence, got: {broken}.")
        if self._promise is None:
            return
        kept = self._promise(run)
        if inspect.isawaitable(kept):
            kept = await kept
        if kept is False:
            raise PromiseBroken(f"Expected {function_name(self._promise)}, which is not so.")


def _memory_disk() -> str | None:
    # No crash here is one of the machine, so that a file in memory outlives as much as one on a disk, and is faster.
    return _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None


@contextmanager
def _seeded() -> Iterator[None]:
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


def _hypothesis() -> Any:
    try:
        import hypothesis  # noqa: PLC0415 - only those who draw plans need it
        import hypothesis.strategies  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError("drawing plans needs hypothesis: pip install hypothesis") from error
    return hypothesis


def _why(error: Exception) -> str:
    text = str(error).strip()
    if isinstance(error, PromiseBroken):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _report(why: str, plan: Plan, trace: Trace) -> str:
    lines = [why, ""]
    if not trace.faults:
        lines.append("Nothing had gone wrong: the scenario fails by itself.")
    for kind, point in trace.faults:
        lines += [f"{kind} at point {point.number}: {point}"]
    lines += ["", "What happened, in order:", "", str(trace), ""]
    lines += [f'To see it again: explorer.run("{plan}")']
    return "\n".join(lines)
