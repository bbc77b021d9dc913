"""Points, and what goes wrong at them."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from pabal.testing.broken import PromiseBroken
from pabal.testing.exploring.plan import FaultKind, Plan
from pabal.testing.exploring.process import Process
from pabal.testing.exploring.stores import FREEZE
from pabal.testing.exploring.trace import Point

if TYPE_CHECKING:
    from pabal.testing.exploring.world import World

DELAY = 5.0
MOST = 20_000


class Points:
    """The points of a run, as they are reached.

    Attributes:
        busy: how many wait for their time: late, or frozen.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        self.busy = 0
        self._last: list[asyncio.Future[None]] = []
        self._never: list[asyncio.Future[None]] = []

    async def reach(
        self,
        process: Process,
        text: str,
        standing: str,
        place: str = "",
        *,
        doubles: bool = False,
        turns: bool = False,
    ) -> bool:
        """Let go wrong here what the plan has for this point.

        Returns whether the caller has a part in it: it `doubles` what crosses here, or `turns` around what comes last.
        """
        world, trace = self._world, self._world.trace
        if not process.mortal or process.over:
            world.note(process.name, text, place)
            return False
        point = Point(len(trace.points) + 1, process.name, text, standing, place, doubles)
        trace.points.append(point)
        world.note(process.name, text, place, point.number)
        if point.number > MOST:
            world.fail(PromiseBroken(f"Expected the run to come to rest, got {MOST:,} points and no end."))
        kind = self._plan.at(point.number)
        if kind is None or (kind == "duplicate" and not doubles):
            return False
        trace.faults.append((kind, point))
        await self._strike(process, kind)
        return kind == "duplicate" or (kind == "reorder" and turns)

    async def _strike(self, process: Process, kind: FaultKind) -> None:
        world, loop = self._world, self._world.loop
        woken: asyncio.Future[None] = loop.create_future()
        match kind:
            case "crash":
                world.note(process.name, "DIES HERE")
                self._never.append(woken)
                world.die(process)
                await woken
            case "duplicate":
                world.note(process.name, "this CROSSES TWICE, or is LOST")
            case "reorder":
                world.note(process.name, "this GOES ON LAST")
                self._last.append(woken)
                await woken
            case "delay":
                world.note(process.name, f"this GOES ON {DELAY:g} S LATER")
                self.busy += 1
                loop.call_later(DELAY, self._wake, woken, context=Context())
                await woken
            case "freeze":
                world.note(process.name, f"STANDS STILL for {FREEZE:g} s")
                self.busy += 1
                process.frozen = True
                loop.call_later(FREEZE, self._thaw, process, woken, context=Context())
                world.replace(process)
                await woken

    def _wake(self, woken: asyncio.Future[None]) -> None:
        self.busy -= 1
        if not woken.done():
            woken.set_result(None)

    def _thaw(self, process: Process, woken: asyncio.Future[None]) -> None:
        self._world.note(process.name, "goes on")
        self._wake(woken)
        process.thaw(self._world.loop)

    def release(self) -> bool:
        """Nothing else can go on: let go on what was to come last; returns whether there was anything."""
        while self._last:
            woken = self._last.pop(0)
            if not woken.done():
                woken.set_result(None)
                return True
        return False

    def let_go(self) -> None:
        """The run is judged: nothing waits here any more."""
        for woken in (*self._never, *self._last):
            woken.cancel()
