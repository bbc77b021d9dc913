"""Driving coroutines without a task for each.

A task costs several microseconds a message; these drive a coroutine inside the task that awaits them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from contextvars import Context, copy_context
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def isolated(coro: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `coro` in a copy of the current context: the context variables that it sets are not seen after it."""
    run = copy_context().run
    try:
        waited_for = run(coro.send, None)
        while True:
            try:
                sent = yield waited_for
            except GeneratorExit:
                run(coro.close)
                raise
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in goes to the coroutine
                waited_for = run(coro.throw, error)
            else:
                waited_for = run(coro.send, sent)
    except StopIteration as done:
        value: T = done.value
        return value


def is_clean(before: Context) -> bool:
    """Whether the context variables are as `before`, a copy of this context: the same values, not only equal ones."""
    now = copy_context()
    try:
        if now != before:
            return False
    except Exception:  # noqa: BLE001 - values of the user's may not like to be compared
        return False
    return not before or all(before[variable] is value for variable, value in now.items())


@coroutine
def resumed(coro: Coroutine[Any, Any, T], waited_for: Any) -> Generator[Any, Any, T]:
    """Await the rest of `coro`, which has begun to wait."""
    try:
        while True:
            try:
                sent = yield waited_for
            except GeneratorExit:
                coro.close()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in goes to the coroutine
                waited_for = coro.throw(error)
            else:
                waited_for = coro.send(sent)
    except StopIteration as done:
        value: T = done.value
        return value


async def at_once(coro: Coroutine[Any, Any, T], otherwise: T) -> T:
    """What `coro` returns without waiting; one that would have to wait is cancelled, and it is `otherwise`."""
    try:
        coro.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    try:
        waited_for = coro.throw(asyncio.CancelledError())
    except asyncio.CancelledError:
        return otherwise
    except StopIteration as done:
        despite: T = done.value
        return despite
    with suppress(asyncio.CancelledError):
        await resumed(coro, waited_for)  # it may have something to wait for before it ends
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return otherwise


async def bounded(coro: Coroutine[Any, Any, T], seconds: float | None) -> T:
    """Await `coro` for at most `seconds`; a timer is made only when it has to wait at all.

    Raises TimeoutError.
    """
    try:
        waited_for = coro.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    async with asyncio.timeout(seconds):
        return await resumed(coro, waited_for)
