"""A message box worked in the event loop: the same work as its thread does, at moments that do not depend on chance."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pabal.messagebox.sqlite.box import Box
from pabal.messagebox.sqlite.take import earliest_due
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.messagebox.sqlite.writer import Writer
from pabal.model.clock import Clock, Timer

Result = TypeVar("Result")


class _Write(NamedTuple):
    work: Callable[[Transaction], Any]
    durable: bool
    future: asyncio.Future[Any]


class _Tell(NamedTuple):
    work: Callable[[Box], Any]
    future: asyncio.Future[Any] | None


class InlineWriter(Writer):
    """A `Writer` without a thread.

    Nobody looks at the file again and again: whoever simulates calls `look` when all is quiet, and it looks by itself
    when a message falls due. `close` gives nothing back: it is what the end of a process does.
    """

    def __init__(self, box: Box, *, failed: Callable[[], object], clock: Clock) -> None:
        super().__init__(box, failed=failed)
        self._clock = clock
        self._writes: list[_Write] = []
        self._tells: list[_Tell] = []
        self._called = False
        self._timer: Timer | None = None

    async def open(self) -> None:
        """Open the box; raises ConfigurationError or ConnectionFailed."""
        self._loop = asyncio.get_running_loop()
        self.box.file.open()
        self._closed, self._pid = None, os.getpid()

    def write(self, work: Callable[[Transaction], Result], *, durable: bool = False) -> asyncio.Future[Result]:
        """As the thread's."""
        future = self._future()
        self._writes.append(_Write(work, durable, future))
        self._soon()
        return future

    def tell(self, work: Callable[[Box], Result]) -> asyncio.Future[Result]:
        """As the thread's."""
        future = self._future()
        self._tells.append(_Tell(work, future))
        self._soon()
        return future

    def note(self, work: Callable[[Box], object]) -> None:
        """As the thread's."""
        self.check()
        self._tells.append(_Tell(work, None))
        self._soon()

    async def close(self) -> None:
        """Close the file."""
        self.sever()

    def sever(self) -> None:
        """Close the file as the end of a process does: what is not committed is undone, and nobody is told."""
        if self._closed is None:
            self._closed = f"message box {self.box.path} is closed"
            if self._timer is not None:
                self._timer.cancel()
            self.box.file.close()

    def look(self) -> bool:
        """Notice what others committed and what is due; returns whether there was anything to do."""
        if self._closed is not None:
            return False
        before = self.box.file.read(_changes)
        given = self._turn()
        return given or before != self.box.file.read(_changes)

    def _soon(self) -> None:
        if not self._called:
            self._called = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> bool:
        self._called = False
        if self._closed is not None:
            return False
        box = self.box
        tells, self._tells = self._tells, []
        writes, self._writes = self._writes, []
        for told in tells:
            _answer(told.future, told.work, box)
        outcomes, taken = box.transact(writes) if box.look() or writes else ([], [])
        for reader, rows in taken:
            reader.deliver(rows.deliveries())
        arrivals = box.hand_out()
        for reader, deliveries in arrivals:
            reader.deliver(deliveries)
        for write, (result, error) in zip(writes, outcomes, strict=True):
            _settle(write.future, result, error)
        if box.patience() <= 0:
            self._soon()
        self._wait()
        return bool(tells or writes or taken or arrivals)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.box.file.read(earliest_due)
        if self._clock.time() < due < float("inf"):
            self._timer = self._clock.call_at(due, self._soon)


def _changes(connection: Any) -> int:
    return int(connection.total_changes)


def _answer(future: asyncio.Future[Any] | None, work: Callable[[Box], Any], box: Box) -> None:
    try:
        result = work(box)
    except Exception as error:
        if future is None:
            raise
        _settle(future, None, error)
    else:
        if future is not None:
            _settle(future, result, None)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
