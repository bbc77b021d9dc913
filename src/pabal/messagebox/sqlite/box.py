"""What the writing thread knows and does: one transaction for all that waits, then what readers are owed."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from pabal.messagebox.sqlite.connection import explain
from pabal.messagebox.sqlite.file import BoxFile
from pabal.messagebox.sqlite.lease import Lease
from pabal.messagebox.sqlite.owned import OwnedReader
from pabal.messagebox.sqlite.presence import Presence
from pabal.messagebox.sqlite.reader import Reader
from pabal.messagebox.sqlite.room import Room
from pabal.messagebox.sqlite.shared import SharedReader
from pabal.messagebox.sqlite.take import Taken, earliest_due, has_ready, take, wake
from pabal.messagebox.sqlite.transaction import RoutingCache, Transaction
from pabal.messagebox.sqlite.trouble import Trouble
from pabal.model.clock import Clock
from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.model.transport import Delivery

Result = TypeVar("Result")

log = logging.getLogger("pabal.sqlite")

LEAST_PAUSE = 0.001
MOST_PAUSE = 0.025
"""Seconds between two looks at the file: while there is activity, and when there has been none for a while."""

_SLOWER = 1.25
_UNWATCHED = 1.0


class Write(Protocol):
    """A job for the writing transaction; `durable`: its caller is told that it survives a loss of power."""

    @property
    def work(self) -> Callable[[Transaction], Any]:
        """What is done in the transaction."""

    @property
    def durable(self) -> bool:
        """Whether the commit waits for the disk."""


class Outcome(NamedTuple):
    """What a job came to."""

    result: Any
    error: BaseException | None


class Box:
    """A box's readers and its transactions; used by one thread only."""

    def __init__(self, path: str, *, clock: Clock, lease: float, full: bool, overflow: int) -> None:
        self.path = path
        self.file = BoxFile(path)
        self._clock = clock
        self._lease = lease
        self.full = full
        self._routing = RoutingCache()
        self._room = Room(overflow)
        self._readers: list[SharedReader] = []
        self._owned: list[OwnedReader] = []
        self._hot: set[int] = set()  # groups that may have something to take
        self._presence = Presence(lease)
        self._due = float("inf")
        self._changed = True  # the earliest due time is to be read again
        self._version = 0
        self._pause = LEAST_PAUSE
        self._trouble = Trouble(f"message box {path}")
        self._reading = Trouble(f"message box {path}: reading it")
        self._begun = False  # the transaction that was tried last

    # Who reads.

    def enter(self, transaction: Transaction, reader: Reader) -> None:
        """Register a reader, and its group where that is new. A job."""
        if transaction.member is None:
            self._presence.join(transaction)
        reader.enter(transaction)
        transaction.remember(self._add, reader)

    def leave(self, transaction: Transaction, reader: Reader, leases: Iterable[Lease]) -> None:
        """Give back what a reader holds and forget the reader. A job."""
        last = all(other is reader or other.grp != reader.grp for other in self._readers)
        reader.leave(transaction, leases, last=last)
        transaction.remember(self._forget, reader)

    def depart(self, transaction: Transaction) -> None:
        """This process reads no more. A job."""
        self._presence.leave(transaction)

    def grant(self, reader: Reader, credit: int) -> None:
        """Let a reader be given so many more deliveries, or fewer."""
        if reader.credit <= 0:
            self._hot.add(reader.grp)
        reader.credit += credit

    def resize(self, reader: Reader, window: int) -> None:
        """Know how many deliveries a reader may hold."""
        reader.window = window

    def withdraw(self, reader: Reader) -> None:
        """Give a reader nothing from now on."""
        reader.credit = 0

    def _add(self, reader: Reader) -> None:
        if isinstance(reader, OwnedReader):
            self._owned.append(reader)
        elif isinstance(reader, SharedReader):
            self._readers.append(reader)
            self._hot.add(reader.grp)

    def _forget(self, reader: Reader) -> None:
        self._readers = [other for other in self._readers if other is not reader]
        self._owned = [other for other in self._owned if other is not reader]

    # What is to be done unasked.

    def patience(self) -> float:
        """Seconds until the next look, if no job comes before."""
        if not self._readers and not self._owned:
            return _UNWATCHED
        if self._trouble.lasts:
            return min(max(self._trouble.rest(), LEAST_PAUSE), _UNWATCHED)
        if self._hungry() & self._hot or any(owner.has_chores for owner in self._owned):
            return 0.0
        if self._reading.rest() <= 0 and any(owner.eager for owner in self._owned):
            return 0.0
        if not self._is_hungry():
            return MOST_PAUSE
        return max(min(self._pause, self._due - self._clock.time()), LEAST_PAUSE)

    def look(self) -> bool:
        """Notice what others committed and what is due; returns whether that needs a transaction."""
        if self._trouble.rest() > 0 or not (self._readers or self._owned):
            return False
        try:
            return self._look()
        except sqlite3.Error as error:
            self._trouble.note(explain(error, self.path))
            return False

    def _look(self) -> bool:
        (version,) = self.file.connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            self._changed = True
            self._pause = LEAST_PAUSE
            self._hot.update(reader.grp for reader in self._readers)
        else:
            self._pause = min(self._pause * _SLOWER, MOST_PAUSE)
        if self._changed:
            self._due = earliest_due(self.file.connection)
            for owner in self._owned:
                owner.stock.notice()
            self._changed = False
        now = self._clock.time()
        if self._presence.is_due(now):
            return True
        if self._due <= now and self._is_hungry():
            return True
        if any(owner.has_chores for owner in self._owned):
            return True
        for grp in self._hungry() & self._hot:
            if has_ready(self.file.connection, grp):
                return True
            self._hot.discard(grp)
        return False

    def _hungry(self) -> set[int]:
        return {reader.grp for reader in self._readers if reader.credit > 0}

    def _is_hungry(self) -> bool:
        return any(reader.credit > 0 for reader in (*self._readers, *self._owned))

    def hand_out(self) -> list[tuple[Reader, list[Delivery]]]:
        """What owners of parts may have, read outside of a transaction; for a reader that was refused, nothing."""
        arrivals: list[tuple[Reader, list[Delivery]]] = []
        for reader in (*self._readers, *self._owned):
            if reader.refused is not None:
                self._forget(reader)
                arrivals.append((reader, []))
        if not self._owned or self._trouble.rest() > 0 or self._reading.rest() > 0:
            return arrivals
        now = self._clock.time()
        self._owned = self._owned[1:] + self._owned[:1]
        try:
            for owner in self._owned:
                if deliveries := owner.hand_out(self.file.connection, now):
                    arrivals.append((owner, deliveries))  # noqa: PERF401 - one by one: what came before trouble counts
        except sqlite3.Error as error:
            self._reading.note(explain(error, self.path))
        else:
            self._reading.note(None)
        return arrivals

    # The transaction.

    def transact(self, jobs: Sequence[Write]) -> tuple[list[Outcome], list[tuple[Reader, Taken]]]:
        """Do all jobs, wake what is due, take what readers may have, and commit once.

        Returns one outcome a job, and what was taken. A job that fails does so alone: then all is undone and done
        again carefully, with a savepoint for each, which costs more than most jobs do.
        """
        self._begun = False
        try:
            transaction, outcomes, taken = self._run(jobs)
        except sqlite3.Error as error:
            if self._begun and len(jobs) > 1:
                return self._one_by_one(jobs)
            failure = explain(error, self.path)
        except ConnectionFailed as error:
            failure = error
        else:
            for change in transaction.after:
                change()
            self._hot |= transaction.ready
            for reader, rows in taken:
                reader.credit -= len(rows)
            self._changed = True
            self._pause = LEAST_PAUSE
            self._trouble.note(transaction.trouble)
            return outcomes, taken
        self._trouble.note(failure)
        return [Outcome(None, ConnectionFailed(str(failure))) for _ in jobs], []

    def flush(self) -> ConnectionFailed | None:
        """Wait until the disk has all that was committed; returns what went wrong.

        Nobody needs this for a commit that only takes, settles or extends: lost with the power, its messages come
        again. One that parks a rejected message is lost as a whole, the letter with the deletion.
        """
        failure = self.file.flush()
        if failure is not None:
            self._trouble.note(failure)
        return failure

    def _one_by_one(self, jobs: Sequence[Write]) -> tuple[list[Outcome], list[tuple[Reader, Taken]]]:
        # SQLite has undone all of them, as it does when one is too large for what is left of the disk.
        outcomes: list[Outcome] = []
        taken: list[tuple[Reader, Taken]] = []
        for job in jobs:
            its_outcome, its_taken = self.transact([job])
            outcomes += its_outcome
            taken += its_taken
        return outcomes, taken

    def _run(self, jobs: Sequence[Write]) -> tuple[Transaction, list[Outcome], list[tuple[Reader, Taken]]]:
        with self.file.writing():
            try:
                return self._commit(jobs, careful=False)
            except Exception:
                if not self._begun:
                    raise
                return self._commit(jobs, careful=True)

    def _commit(
        self, jobs: Sequence[Write], *, careful: bool
    ) -> tuple[Transaction, list[Outcome], list[tuple[Reader, Taken]]]:
        self.file.connection.execute("BEGIN IMMEDIATE")
        self._begun = True
        try:
            transaction = Transaction(
                self.file.connection, now=self._clock.time(), routing=self._routing, room=self._room
            )
            transaction.careful = careful
            transaction.member = self._presence.member
            if self._presence.is_due(transaction.now):
                self._unasked(self._stay_alive, transaction)
            outcomes = [self._attempt(job.work, transaction) for job in jobs]
            taken = self._unasked(self._serve, transaction) or []
            self.file.connection.execute("COMMIT")
        except BaseException:
            self._routing.forget()
            if self.file.connection.in_transaction:
                self.file.connection.execute("ROLLBACK")
            raise
        return transaction, outcomes, taken

    def _attempt(self, work: Callable[[Transaction], Any], transaction: Transaction) -> Outcome:
        if not transaction.careful:
            return Outcome(work(transaction), None)
        connection = self.file.connection
        member, mark = transaction.member, len(transaction.after)
        connection.execute("SAVEPOINT job")
        try:
            outcome = Outcome(work(transaction), None)
        except Exception as error:  # its caller's, who gets it as it is
            if not connection.in_transaction:
                raise  # SQLite has rolled everything back
            connection.execute("ROLLBACK TO job")
            self._routing.forget()
            transaction.member = member
            del transaction.after[mark:]
            outcome = Outcome(None, explain(error, self.path) if isinstance(error, sqlite3.Error) else error)
        connection.execute("RELEASE job")
        return outcome

    def _unasked(self, work: Callable[[Transaction], Result], transaction: Transaction) -> Result | None:
        # What fails here is tried again later; those who wait for their jobs are not to suffer by it.
        outcome = self._attempt(work, transaction)
        transaction.trouble = transaction.trouble or outcome.error
        return outcome.result  # type: ignore[no-any-return]  # what `work` returned

    def _serve(self, transaction: Transaction) -> list[tuple[Reader, Taken]]:
        for owner in self._owned:
            if owner.has_chores:
                self._unasked(owner.chores, transaction)
        if self._due <= transaction.now:
            wake(transaction)
        taken: list[tuple[Reader, Taken]] = []
        hot = self._hot | transaction.ready
        cold: set[int] = set()
        self._readers[:] = self._readers[1:] + self._readers[:1]
        for reader in self._readers:
            if reader.credit <= 0 or reader.grp not in hot or reader.grp in cold:
                continue
            rows = take(self.file.connection, reader.grp, reader.credit, until=transaction.now + self._lease)
            if rows:
                taken.append((reader, rows))
            if len(rows) < reader.credit:
                cold.add(reader.grp)
        transaction.remember(self._hot.difference_update, cold)
        transaction.ready -= cold
        return taken

    def _stay_alive(self, transaction: Transaction) -> None:
        for owner in self._owned:
            owner.beat(transaction)
        if self._presence.beat(transaction):
            return
        # Frozen for so long that somebody declared us dead: everything is made anew.
        self._presence.join(transaction)
        for reader in self._readers:
            try:
                reader.enter(transaction)
            except ConfigurationError as error:  # meanwhile it became a group of another kind
                transaction.remember(setattr, reader, "refused", str(error))
        transaction.remember(self._hot_again)
        if self._readers or self._owned:
            log.warning("message box %s: this process was taken for dead; it has joined again", self.path)

    def _hot_again(self) -> None:
        self._hot.update(reader.grp for reader in self._readers)
