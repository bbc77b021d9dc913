"""The thread that owns a box, and the way from the event loop to it and back."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pabal.messagebox.sqlite.box import Box, Outcome
from pabal.messagebox.sqlite.jobs import Jobs
from pabal.messagebox.sqlite.reader import Reader
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.model.transport import Delivery

Result = TypeVar("Result")

_MOST_JOBS = 512


class _Write:
    __slots__ = ("durable", "future", "work")

    def __init__(self, work: Callable[[Transaction], Any], durable: bool, future: asyncio.Future[Any]) -> None:  # noqa: FBT001
        self.work = work
        self.durable = durable
        self.future = future


class _Tell:
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[Box], Any], future: asyncio.Future[Any] | None) -> None:
        self.work = work
        self.future = future


_Answer = tuple["asyncio.Future[Any]", Outcome]
_Arrival = tuple[Reader, list[Delivery]]


class Writer:
    """Hands jobs to the thread; all that wait share one transaction and one commit.

    ``failed`` is called in the event loop should the thread end by itself.
    """

    def __init__(self, box: Box, *, failed: Callable[[], object]) -> None:
        self.box = box
        self._failed = failed
        self._batch: list[_Write | _Tell | None] = []
        self._jobs: Jobs[_Write | _Tell | None] = Jobs()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._closed: str | None = f"message box {box.path} is not open"

    async def open(self) -> None:
        """Start the thread and open the box; raises ConfigurationError or ConnectionFailed."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._closed = None
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="pabal-sqlite", daemon=True)
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.close()
            self._closed = f"message box {self.box.path} is not open"
            raise

    def write(self, work: Callable[[Transaction], Result], *, durable: bool = False) -> asyncio.Future[Result]:
        """Do `work` in the next transaction; the future has its result once that is committed.

        With `durable` the commit has reached the disk by then. Cancelling the future does not undo the work.
        """
        future = self._future()
        self._jobs.put(_Write(work, durable, future))
        return future

    def tell(self, work: Callable[[Box], Result]) -> asyncio.Future[Result]:
        """Do `work` on the thread, outside of a transaction, before the writes that wait."""
        future = self._future()
        self._jobs.put(_Tell(work, future))
        return future

    def note(self, work: Callable[[Box], object]) -> None:
        """As `tell`, with nobody waiting for it."""
        self.check()
        self._jobs.put(_Tell(work, None))

    async def close(self) -> None:
        """Finish what waits, close the box and end the thread."""
        if self._thread is None:
            return
        self._closed = self._closed or f"message box {self.box.path} is closed"
        if not self._ended.done():
            self._jobs.put(None)
        await self._ended
        self._thread.join()
        self._thread = None

    def check(self) -> None:
        """Raise ConnectionFailed when the box is not open, ConfigurationError in a forked child."""
        if self._closed is not None:
            raise ConnectionFailed(self._closed)
        self.check_process()

    def check_process(self) -> None:
        """Raise ConfigurationError in a child that was forked since the box was opened."""
        if os.getpid() != self._pid:
            raise ConfigurationError(
                f"message box {self.box.path} was opened before a fork; a child process opens its own transport"
            )

    def _future(self) -> asyncio.Future[Any]:
        self.check()
        return self._loop.create_future()

    # The thread.

    def _run(self, opened: asyncio.Future[None]) -> None:
        failure: BaseException | None = None
        try:
            self.box.file.open()
        except Exception as error:  # noqa: BLE001 - it is the opener's
            self._post([(opened, Outcome(None, error))], [])
        else:
            try:
                self._post([(opened, Outcome(None, None))], [])
                self._serve()
            except BaseException as error:
                failure = error
                raise
            finally:
                self.box.file.close()
        finally:
            self._call(self._end, failure)

    def _serve(self) -> None:
        box = self.box
        serving = True
        while serving:
            answers: list[_Answer] = []
            unsure: list[_Answer] = []  # committed, but the disk may not have it yet
            writes: list[_Write] = []
            self._batch = self._jobs.take(_MOST_JOBS, patience=box.patience())
            for item in self._batch:
                if item is None:
                    serving = False
                elif isinstance(item, _Write):
                    writes.append(item)
                else:
                    self._heed(item, answers)
            arrivals: list[_Arrival] = []
            if box.look() or writes:
                outcomes, taken = box.transact(writes)
                for write, outcome in zip(writes, outcomes, strict=True):
                    (unsure if box.full and write.durable else answers).append((write.future, outcome))
                arrivals = [(reader, rows.deliveries()) for reader, rows in taken]
            arrivals += box.hand_out()
            if (answers or arrivals) and not self._post(answers, arrivals):
                return
            if unsure and not self._post(self._flushed(unsure), []):
                return
            if self._loop.is_closed():
                return

    def _flushed(self, answers: list[_Answer]) -> list[_Answer]:
        failure = self.box.flush()
        if failure is None:
            return answers
        return [(future, Outcome(None, outcome.error or failure)) for future, outcome in answers]

    def _heed(self, told: _Tell, answers: list[_Answer]) -> None:
        try:
            outcome = Outcome(told.work(self.box), None)
        except Exception as error:
            if told.future is None:
                raise
            outcome = Outcome(None, error)
        if told.future is not None:
            answers.append((told.future, outcome))

    def _post(self, answers: list[_Answer], arrivals: list[_Arrival]) -> bool:
        return self._call(_hand_over, answers, arrivals)

    def _call(self, callback: Callable[..., object], *values: object) -> bool:
        try:
            self._loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            return False  # the loop was closed without closing us: nobody is left to answer
        return True

    def _end(self, failure: BaseException | None) -> None:
        if failure is not None:
            self._closed = f"message box {self.box.path} has failed: {failure!r}"
        for item in (*self._batch, *self._jobs.take(sys.maxsize, patience=0)):
            if item is not None and item.future is not None and not item.future.done():
                item.future.set_exception(ConnectionFailed(self._closed or "the message box is closed"))
        if not self._ended.done():
            self._ended.set_result(None)
        if failure is not None:
            self._failed()


def _hand_over(answers: list[_Answer], arrivals: list[_Arrival]) -> None:
    for reader, deliveries in arrivals:
        reader.deliver(deliveries)
    for future, (result, error) in answers:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
