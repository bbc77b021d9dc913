"""When nothing can go on: whether all is done, or time passes, or somebody outside is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pabal.testing.broken import PromiseBroken

if TYPE_CHECKING:
    from pabal.testing.exploring.world import World

_PATIENCE = 10.0
"""Real seconds to wait for threads and sockets that are known to be at work."""

_BRIEFLY = 0.1
"""Real seconds to wait where nobody can tell whether a thread of the user's is at work."""


class Stillness:
    """Decides what comes when no task can go on."""

    def __init__(self, world: World, *, horizon: float) -> None:
        self._world = world
        self._horizon = horizon
        self._waiting: list[asyncio.Future[str | None]] = []

    async def settled(self) -> None:
        """Return once all that was published is done, or waits behind a dead letter of its key.

        Raises PromiseBroken when that takes longer than the horizon.
        """
        waiting: asyncio.Future[str | None] = self._world.loop.create_future()
        self._waiting.append(waiting)
        why = await waiting
        if why is not None and not self._world.ledger.is_held(await self._world.letters()):
            raise PromiseBroken(why)

    def idle(self, due: float | None, *, waited: bool) -> float:
        """Make something ready, or turn the time to what is `due` in so many seconds, or say how long to wait outside.

        `waited`: that was just done, and brought nothing.
        """
        world, loop = self._world, self._world.loop
        if not world.over and (world.points.release() or world.store.look()):
            return 0.0
        patience = 0.0 if waited else self._patience()
        if patience:
            return patience
        if world.over:
            loop.pass_time(due or 0.0)
            return 0.0 if due is not None else _BRIEFLY
        if self._waiting and self.is_still():
            self._rest(None)
        elif due is not None and loop.time() + due <= self._horizon:
            loop.pass_time(due)
        elif self._waiting:
            self._rest(self._why())
        else:
            world.fail(PromiseBroken(self._why()))
        return 0.0

    def is_still(self) -> bool:
        """Whether no handler runs, nothing is on its way, and no group has anything to do."""
        world = self._world
        working = any(process.alive and process is not world.client for process in world.calls.values())
        return not (working or world.points.busy or world.starting or self._unfinished())

    def _unfinished(self) -> list[str]:
        return [
            f"group {status.name} of {status.source} has {status.ready} ready, {status.waiting} waiting and "
            f"{status.leased} in hand"
            for status in self._world.store.groups()
            if status.ready or status.waiting or status.leased
        ]

    def _patience(self) -> float:
        world = self._world
        if world.over:
            return _BRIEFLY
        # A thread that has something published waits for us.
        if world.loop.waits_outside(but=[call.waits for call in world.calls if call.inside]):
            return _PATIENCE
        waits = [call.waits for call, process in world.calls.items() if process.runs and call.waits is not None]
        return _BRIEFLY if any(not world.loop.is_timed(each) for each in waits) else 0.0

    def _rest(self, why: str | None) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(why)

    def _why(self) -> str:
        calls = [
            f"{call.name} goes on in {process.name}" for call, process in self._world.calls.items() if process.alive
        ]
        return (
            f"Expected the run to come to rest within {self._horizon:,.0f} s, got: "
            f"{'; '.join([*calls, *self._unfinished()]) or 'the scenario waits'}."
        )
