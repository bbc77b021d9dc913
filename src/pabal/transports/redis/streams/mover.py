"""Moving into streams what was to come later."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from pabal.model.errors import PabalError
from pabal.transports.redis.commands import Commands, Script

_MOVE = Script("move")

_POLL = 1.0
"""Seconds after which is looked again, where readers are: others may have put something there, and died since."""

_AT_ONCE = 100

Place = tuple[str, str, str]
"""When it is due, what it is, and the stream where it goes."""


async def move_all(commands: Commands, place: Place) -> None:
    """Move all that waits there, whatever its time. Raises ConnectionFailed."""
    while await commands.run(_MOVE, place, (_AT_ONCE, "+inf")) >= 0:
        pass


class Mover:
    """Looks after the places whose readers are here, and those where this process has put something."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._watched: Counter[Place] = Counter()
        self._next: dict[Place, float] = {}
        self._sooner = asyncio.Event()
        self._moving: asyncio.Task[None] | None = None

    def watch(self, *places: Place) -> None:
        """A reader has come to these."""
        self._watched.update(places)
        for place in places:
            self.expect(place, 0.0)

    def leave(self, *places: Place) -> None:
        """A reader has gone from these."""
        self._watched.subtract(places)
        self._watched = +self._watched

    def expect(self, place: Place, seconds: float) -> None:
        """Something is due there after so many seconds."""
        due = asyncio.get_running_loop().time() + seconds
        if due < self._next.get(place, due + 1):
            self._next[place] = due
            self._sooner.set()
        if self._moving is None:
            self._moving = asyncio.get_running_loop().create_task(self._move(), name="pabal redis: moving what is due")

    async def aclose(self) -> None:
        """Move nothing more; others do, or whoever comes next."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait([self._moving])

    async def _move(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._sooner.clear()
            now = loop.time()
            due = [place for place, when in self._next.items() if when <= now]
            for place in due:
                del self._next[place]
                await self._move_from(place)
            if not due:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(self._next.values(), default=None)):
                        await self._sooner.wait()

    async def _move_from(self, place: Place) -> None:
        wait = _POLL
        with suppress(PabalError):
            milliseconds = await self._commands.run(_MOVE, place, (_AT_ONCE, ""))
            if milliseconds >= 0:
                wait = milliseconds / 1000
            elif place not in self._watched:
                return
        self.expect(place, min(wait, _POLL) if place in self._watched else wait)
