"""A handler's call, stepped: each of its awaits is a point."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from types import CodeType, coroutine
from typing import Any

Gate = Callable[["Call"], Awaitable[object]]

CALL: ContextVar[Call | None] = ContextVar("pabal_exploring_call", default=None)
"""The call of a handler, or of the scenario, that the running code belongs to."""


class Call:
    """One call of the user's code.

    Attributes:
        name: what the trace calls it.
        code: the function's, where it has one.
        inside: the tasks that are inside of a call to the store or of a declared effect, which has its own points.
        waits: what it waits for by itself, outside of those.
        coroutine: what is stepped.
    """

    def __init__(self, name: str, function: Any) -> None:
        self.name = name
        self.code: CodeType | None = getattr(function, "__code__", None)
        self.inside: set[asyncio.Task[Any] | None] = set()
        self.waits: object = None
        self.coroutine: object = None

    @property
    def is_inside(self) -> bool:
        """Whether the running task is inside."""
        return asyncio.current_task() in self.inside


class Inside:
    """``with Inside():`` the running task is inside of a call that has its own points."""

    def __enter__(self) -> None:
        self._call, self._task = CALL.get(), asyncio.current_task()
        self._is_first = self._call is not None and self._task not in self._call.inside
        if self._call is not None:
            self._call.inside.add(self._task)

    def __exit__(self, *_: object) -> None:
        if self._call is not None and self._is_first:
            self._call.inside.discard(self._task)


@coroutine
def stepped(call: Call, coro: Coroutine[Any, Any, Any], gate: Gate) -> Generator[Any, Any, Any]:
    """Await `coro`, and `gate` each time before it goes on after an await of its own."""
    call.coroutine = coro
    try:
        waits = coro.send(None)
        while True:
            outside = not call.is_inside
            call.waits = waits if outside else None
            try:
                sent = yield waits
            except GeneratorExit:
                coro.close()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in goes to the coroutine
                waits = coro.throw(error)
            else:
                call.waits = None
                if outside:
                    yield from gate(call).__await__()
                waits = coro.send(sent)
    except StopIteration as done:
        return done.value
