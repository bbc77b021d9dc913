"""What a job works with inside the writing transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial

from pabal.messagebox.routing import Routing
from pabal.messagebox.sqlite.room import Room


class RoutingCache:
    """The last routing that was read; `get` is honest inside a writing transaction alone."""

    def __init__(self) -> None:
        self._routing: Routing | None = None

    def get(self, connection: sqlite3.Connection) -> Routing:
        """The routing of now: the kept one if the epoch is still its own."""
        (epoch,) = connection.execute("SELECT value FROM pabal_meta WHERE name = 'routing'").fetchone()
        if self._routing is None or self._routing.epoch != epoch:
            (parts,) = connection.execute("SELECT value FROM pabal_meta WHERE name = 'parts'").fetchone()
            groups = connection.execute("SELECT id, source, name, taking FROM pabal_group").fetchall()
            self._routing = Routing(
                epoch,
                [(grp, source, name) for grp, source, name, _ in groups],
                owned=[grp for grp, _, _, taking in groups if taking == "owned"],
                parts=parts,
            )
        return self._routing

    def forget(self) -> None:
        """What was read may have been rolled back, and its epoch be given to something else."""
        self._routing = None


class Uncertain(Exception):
    """Raised by a job that cannot tell what it has done: the transaction is undone and done again, carefully."""


class Transaction:
    """One writing transaction.

    Attributes:
        connection: the connection, inside the transaction.
        now: the time by pabal's clock.
        member: the id of this process's member row; None: it reads nothing.
        ready: groups that have got something to take.
        ended: leases that a job of this transaction has ended already.
        joined: readers that became members, each under this id, in this transaction.
        careful: whether what fails is undone alone, by savepoints.
        trouble: why something that nobody asked for failed.
        after: what the thread remembers once the transaction is committed.
    """

    def __init__(self, connection: sqlite3.Connection, *, now: float, routing: RoutingCache, room: Room) -> None:
        self.connection = connection
        self.now = now
        self.member: int | None = None
        self.ready: set[int] = set()
        self.ended: set[object] = set()
        self.joined: dict[object, int] = {}
        self.careful = True
        self.trouble: BaseException | None = None
        self.after: list[Callable[[], object]] = []
        self._routing = routing
        self._room = room
        self._room_begun = False

    def routing(self) -> Routing:
        """Who takes what, as it is in this transaction."""
        return self._routing.get(self.connection)

    def living(self) -> set[int]:
        """The groups that a living member reads."""
        return {
            grp
            for (grp,) in self.connection.execute(
                "SELECT l.grp FROM pabal_listening l JOIN pabal_member m ON m.id = l.member WHERE m.alive_until > ?",
                (self.now,),
            )
        }

    def stir(self) -> None:
        """Let the owners of parts look at all they own: something became ready that is not new."""
        self.connection.execute("UPDATE pabal_meta SET value = value + 1 WHERE name = 'stirred'")

    def has_room(self, grp: int, *, unwritten: Iterable[tuple[object, ...]] = ()) -> bool:
        """Whether a listener's group may have one more message, whose room that is then; see `Room.take`."""
        if not self._room_begun:
            self._room.begin(self.connection)
            self._room_begun = True
        return self._room.take(self.connection, grp, self.routing().source(grp), unwritten)

    def remember(self, change: Callable[..., object], *values: object) -> None:
        """Call ``change(*values)`` once the transaction is committed."""
        self.after.append(partial(change, *values))
