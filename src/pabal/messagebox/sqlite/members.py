"""Members: one row for each process that reads, and what ends with it.

Death is deletion: whoever deletes an expired member's row ends its private groups in the same transaction,
and a heartbeat that finds no row knows that all is lost. A row that has expired but is still there is simply
renewed, since nobody has taken anything over yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from pabal.messagebox.sqlite import slots

# The pattern is routing.PRIVATE's.
_ORPHANED = "SELECT id FROM pabal_group WHERE name GLOB '~*' AND id NOT IN (SELECT grp FROM pabal_listening)"


def join(connection: sqlite3.Connection, until: float) -> int:
    """Become a member; returns its id, which is never given again."""
    (member,) = connection.execute(
        "INSERT INTO pabal_member (alive_until) VALUES (?) RETURNING id", (until,)
    ).fetchone()
    return int(member)


def beat(connection: sqlite3.Connection, member: int, until: float) -> bool:
    """Stay alive until then; returns False when the member was declared dead."""
    return connection.execute("UPDATE pabal_member SET alive_until = ? WHERE id = ?", (until, member)).rowcount == 1


def is_there(connection: sqlite3.Connection, member: int) -> bool:
    """Whether nobody has declared the member dead."""
    return connection.execute("SELECT 1 FROM pabal_member WHERE id = ?", (member,)).fetchone() is not None


def expired(connection: sqlite3.Connection, now: float) -> set[int]:
    """The members whose time is over and who are not yet declared dead."""
    return {member for (member,) in connection.execute("SELECT id FROM pabal_member WHERE alive_until <= ?", (now,))}


def set_back(connection: sqlite3.Connection, *, since: float, until: float) -> None:
    """The clock was set back to before `since`: what was to last longer than that, by the old clock, lasts `until`.

    Else the dead would live on, and hold what they had, for as long as it was set back. Who lives renews its own.
    """
    for lease in (
        "pabal_member SET alive_until = :until WHERE alive_until",
        "pabal_take SET due = :until WHERE due",
        "pabal_message SET due = :until WHERE token IS NOT NULL AND due",
    ):
        connection.execute(f"UPDATE {lease} > max(:since, :until)", {"since": since, "until": until})


def bury(connection: sqlite3.Connection, members: Iterable[int]) -> None:
    """Declare members dead, or gone: their private groups go with them."""
    rows = [(member,) for member in members]
    connection.executemany("DELETE FROM pabal_member WHERE id = ?", rows)
    connection.executemany("DELETE FROM pabal_listening WHERE member = ?", rows)
    slots.announce(connection)
    drop(connection, connection.execute(_ORPHANED).fetchall())


def drop(connection: sqlite3.Connection, groups: list[tuple[int]]) -> None:
    """Delete groups and all that they have."""
    if not groups:
        return
    for table in ("pabal_message", "pabal_take", "pabal_slot", "pabal_listening"):
        connection.executemany(f"DELETE FROM {table} WHERE grp = ?", groups)  # noqa: S608 - our own table names
    connection.executemany("DELETE FROM pabal_group WHERE id = ?", groups)
    connection.executemany("UPDATE pabal_dead SET holds = NULL WHERE holds = ?", groups)
    reroute(connection)


def reroute(connection: sqlite3.Connection) -> None:
    """Raise the routing epoch: every cached routing is stale from this transaction's commit on."""
    connection.execute("UPDATE pabal_meta SET value = value + 1 WHERE name = 'routing'")
