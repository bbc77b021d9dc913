"""A process of a simulated world: what runs in its context is dropped once it is dead, and held while it is frozen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

OWNER: ContextVar[Process | None] = ContextVar("pabal_exploring_process", default=None)
"""The process that the running code belongs to; None: the world outside of all of them."""


class Process:
    """One process, from its start to its death.

    Attributes:
        name: how the trace calls it.
        mortal: whether anything can go wrong with it.
        alive: False once it has crashed.
        frozen: it stands still.
        over: the run is judged; whatever is left may end.
        context: the context in which its code runs.
        closing: called when it dies.
    """

    def __init__(self, name: str, world: Context) -> None:
        self.name = name
        self.mortal = False
        self.alive = True
        self.frozen = False
        self.over = False
        self.context = world.copy()
        self.context.run(OWNER.set, self)
        self.closing: list[Callable[[], object]] = []
        self._held: list[Step] = []

    @property
    def runs(self) -> bool:
        """Whether its code goes on."""
        return self.over or (self.alive and not self.frozen)

    def step(self, step: Step) -> None:
        """Run what the event loop has for it, now or once it goes on."""
        if self.runs:
            step.callback(*step.args)
        else:
            self._held.append(step)

    def die(self) -> None:
        """Go no further; what the operating system would close is closed."""
        self.alive = False
        self.close()

    def close(self) -> None:
        """Close what it would not have kept, the last first."""
        while self.closing:
            self.closing.pop()()

    def thaw(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on where it stood still, but for the dead."""
        self.frozen = False
        held, self._held = self._held, []
        for step in held:
            step.call_soon(loop)


class Step:
    """Something that the event loop has for a process, with the handle by which it is called off."""

    def __init__(
        self, owner: Process, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self.callback = callback
        self.args = args
        self.handle: asyncio.Handle | None = None
        self._owner = owner
        self._context = context

    def call_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do it soon, when it was not done in its time."""
        loop.call_soon(self, context=self._context)

    def __call__(self) -> None:
        """Do it, if it is not called off."""
        if self.handle is None or not self.handle.cancelled():
            self._owner.step(self)
