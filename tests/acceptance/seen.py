"""Waiting for what handlers do."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from pabal import Bus, Context, DeadLetter

PATIENCE = 20.0


class Seen(list[Any]):
    """What handlers have seen, in order. `add` may be called from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()

    def add(self, what: Any) -> None:
        self.append(what)
        self._loop.call_soon_threadsafe(self._more.set)

    def extend(self, what: Iterable[Any]) -> None:
        for each in what:
            self.add(each)

    async def wait(self, count: int) -> list[Any]:
        """All there is once there are `count`."""
        async with asyncio.timeout(PATIENCE):
            while len(self) < count:
                self._more.clear()
                await self._more.wait()
        return list(self)


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds; for what tells nobody when it happens."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.001)


async def letters(bus: Bus, count: int = 1) -> list[DeadLetter]:
    """The dead letters, once there are `count`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [letter async for letter in bus.dead_letters.list()]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.001)


async def drained(url: str) -> list[Any]:
    """What another bus gets of group g, until it is quiet; with the attempt."""
    bus, seen = Bus(url), Seen()

    @bus.handler("a", group="g")
    async def handler(body: Any, context: Context) -> None:
        seen.add((body, context.attempt))

    async with bus.running():
        await bus.publish("a", "last", id="last")
        while "last" not in [body for body, _ in seen]:
            await seen.wait(len(seen) + 1)
    return [one for one in seen if one[0] != "last"]
