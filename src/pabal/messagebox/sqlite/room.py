"""How many more messages may wait for each listener: counted seldom, since a count reads what it counts."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable

log = logging.getLogger("pabal.sqlite")

# Of a listener that keeps up this reads little, of one that does not at most as much as the limit.
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM pabal_message WHERE grp = ? LIMIT ?)"
_MOST_KNOWN = 1000


class Room:
    """What is left of each listener's limit.

    A count is good until another process commits: what our own do, or a rollback undoes, only makes more room than is
    known here, and when the known room is used up there is another count.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left: dict[int, int] = {}
        self._full: set[int] = set()  # counted and found full in this transaction
        self._slow: set[int] = set()  # said to be too slow
        self._version = 0

    def begin(self, connection: sqlite3.Connection) -> None:
        """A transaction has begun."""
        self._full.clear()
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._version or len(self._left) > _MOST_KNOWN:
            self._version = version
            self._left.clear()

    def take(
        self, connection: sqlite3.Connection, grp: int, source: str, unwritten: Iterable[tuple[object, ...]]
    ) -> bool:
        """Take the room for one message of a listener's group; returns whether there is any.

        `unwritten` are rows that are not in the table yet, their group first.
        """
        if grp in self._full:
            return False
        left = self._left.get(grp, 0)
        if left <= 0:
            (waiting,) = connection.execute(_COUNT, (grp, self._limit)).fetchone()
            left = self._limit - waiting - sum(row[0] == grp for row in unwritten)
            self._found(grp, source, full=left <= 0)
        self._left[grp] = left - 1
        return left > 0

    def _found(self, grp: int, source: str, *, full: bool) -> None:
        if not full:
            self._slow.discard(grp)
            return
        self._full.add(grp)
        if grp not in self._slow:
            self._slow.add(grp)
            log.warning(
                "a listener of %s is too slow: %d messages wait for it, what is published now becomes dead letters",
                source,
                self._limit,
            )
