"""Takes: what a member of a shared group has taken at once is leased by one row, as a range of ids.

At place 0 of a group stands what was never moved. Of that, all up to the last id of its takes is leased, and all
above is ready; since a new message always has a higher id, nothing comes in between. So taking writes nothing to
the messages, and settling only deletes them. What is not simply deleted leaves place 0 for a lease of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from pabal.messagebox.sqlite.lease import Lease
from pabal.messagebox.sqlite.transaction import Transaction

_INSERT = "INSERT INTO pabal_take (grp, last, first, due) VALUES (?, ?, ?, ?)"
_LIVES = "SELECT due FROM pabal_take WHERE grp = ? AND last = ? AND due > ?"
_APART = "UPDATE pabal_message SET place = -2, due = ?, token = ?, attempt = attempt + 1 WHERE id = ? AND place = 0"
_OVER = (
    "DELETE FROM pabal_take WHERE grp = ? AND last = ? AND NOT EXISTS"
    " (SELECT 1 FROM pabal_message m WHERE m.grp = pabal_take.grp AND m.place = 0"
    " AND m.id BETWEEN pabal_take.first AND pabal_take.last)"
)
_EXPIRED = "SELECT grp, last, first FROM pabal_take WHERE due <= ? ORDER BY due LIMIT ?"
_WAKE = "UPDATE pabal_message SET place = 1, attempt = attempt + 1 WHERE grp = ? AND place = 0 AND id BETWEEN ? AND ?"
_END = "DELETE FROM pabal_take WHERE grp = ? AND last = ?"


class RowLease(Lease, eq=False, gc=False):
    """The lease of one message: by the take that ends with the id `last`, or once it is apart by its row's token."""

    token: int
    last: int


class Takes:
    """The takes of one group, as they are in this transaction."""

    def __init__(self, transaction: Transaction, grp: int) -> None:
        self._connection = transaction.connection
        self._now = transaction.now
        self._grp = grp
        self._due: dict[int, float | None] = {}

    def alive(self, leases: Iterable[RowLease]) -> list[RowLease]:
        """Those whose take is not over; of these what stands at place 0 is leased by it."""
        return [lease for lease in leases if self._until(lease.last) is not None]

    def apart(self, leases: Iterable[RowLease]) -> None:
        """Give those that are leased by a take a lease of their own, as long as that."""
        rows = [(self._until(lease.last), lease.token, lease.id) for lease in self.alive(leases)]
        if rows:
            self._connection.executemany(_APART, rows)

    def close(self) -> None:
        """End the takes that were asked for and of which nothing is left."""
        over = [(self._grp, last) for last, due in self._due.items() if due is not None]
        self._connection.executemany(_OVER, over)

    def _until(self, last: int) -> float | None:
        if last not in self._due:
            found = self._connection.execute(_LIVES, (self._grp, last, self._now)).fetchone() if last else None
            self._due[last] = None if found is None else found[0]
        return self._due[last]


def begin(connection: sqlite3.Connection, grp: int, *, first: int, last: int, due: float) -> None:
    """Lease all of a group that is ready at place 0, from one id to another."""
    connection.execute(_INSERT, (grp, last, first, due))


def expire(transaction: Transaction, most: int) -> set[int]:
    """Make ready again what is left of takes whose time is over, and end these; returns the groups.

    It stops behind the take with which `most` messages are reached; the rest is over still.
    """
    connection, woken = transaction.connection, set()
    for grp, last, first in connection.execute(_EXPIRED, (transaction.now, most)).fetchall():
        most -= connection.execute(_WAKE, (grp, first, last)).rowcount
        connection.execute(_END, (grp, last))
        woken.add(grp)
        if most <= 0:
            break
    return woken
