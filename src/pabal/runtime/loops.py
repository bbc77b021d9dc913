"""Event loops that threads without one wait for."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

from pabal.model.errors import ConfigurationError, ConnectionFailed

T = TypeVar("T")

_END: Any = object()


class Loop:
    """An event loop as other threads use it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._process = os.getpid()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or was left behind in the process that forked this one."""
        return self._loop.is_closed() or os.getpid() != self._process

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """What `coro` returns or raises, run by the loop while this thread waits; interrupted, it is cancelled.

        Raises ConfigurationError where an event loop runs, which this would block, and ConnectionFailed once the loop
        has ended.
        """
        try:
            refuse_to_block()
        except ConfigurationError:
            coro.close()
            raise
        if self.is_over:
            coro.close()
            raise ConnectionFailed("this was closed, or belongs to the process that this one was forked from")
        waiting = asyncio.run_coroutine_threadsafe(coro, self._loop)
        try:
            return waiting.result()
        except CancelledError:
            raise ConnectionFailed("this was closed while the call waited") from None
        finally:
            waiting.cancel()

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """What `items` gives, one by one as it is asked for."""
        try:
            while (item := self.run(_next(items))) is not _END:
                yield item
        finally:
            if not self.is_over:
                self.run(_close(items))

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """`context`, entered and exited by the loop."""
        value = self.run(_enter(context))
        try:
            yield value
        except BaseException as error:
            if self.is_over or not self.run(_exit(context, error)):
                raise
        else:
            if not self.is_over:
                self.run(_exit(context, None))


class LoopThread(Loop):
    """An event loop on a thread of its own, until `stop`."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(started,), name="pabal blocking", daemon=True)
        self._thread.start()
        started.wait()

    def stop(self) -> None:
        """End the loop and its thread; what still runs there is cancelled."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _main(self, started: threading.Event) -> None:
        with asyncio.Runner() as runner:
            super().__init__(runner.get_loop())
            started.set()
            runner.run(_wait(self._stopping))


def refuse_to_block() -> None:
    """Raise ConfigurationError where an event loop runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "this call would block the event loop that runs here: await the bus's own method instead, "
        "or make the call on a thread, as in await asyncio.to_thread(...)"
    )


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items, _END)


async def _close(items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


async def _enter(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _exit(context: AbstractAsyncContextManager[Any], error: BaseException | None) -> bool | None:
    return await context.__aexit__(
        type(error) if error is not None else None, error, getattr(error, "__traceback__", None)
    )


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
