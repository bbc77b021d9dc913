"""Who owns which part of an owned group.

A part changes hands only when its owner gives it up, or is declared dead, which is the deletion of its member
row. So an owner may trust what it knows to own as long as its row is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

_FREE = "grp = ? AND (member IS NULL OR member NOT IN (SELECT id FROM pabal_member))"


class Claim(NamedTuple):
    """A part that was claimed; not `clean`: its owner died, and nobody knows what it had in hand."""

    part: int
    epoch: int
    clean: bool


def lay_out(connection: sqlite3.Connection, grp: int) -> None:
    """Give a group its parts, none of them owned."""
    (parts,) = connection.execute("SELECT value FROM pabal_meta WHERE name = 'parts'").fetchone()
    rows = [(grp, part) for part in range(parts)]
    connection.executemany("INSERT INTO pabal_slot (grp, part) VALUES (?, ?)", rows)


def announce(connection: sqlite3.Connection) -> None:
    """Tell all owners that members or slots have changed."""
    connection.execute("UPDATE pabal_meta SET value = value + 1 WHERE name = 'members'")


def share(connection: sqlite3.Connection, grp: int, *, takes: bool) -> int:
    """How many parts a member may own, so that all who want some have alike; who wants none, what the others leave."""
    (parts,) = connection.execute("SELECT count(*) FROM pabal_slot WHERE grp = ?", (grp,)).fetchone()
    (takers,) = connection.execute("SELECT count(*) FROM pabal_listening WHERE grp = ? AND takes", (grp,)).fetchone()
    if not takes:
        return 0 if takers else int(parts)
    return -(-int(parts) // max(1, int(takers)))


def set_takes(connection: sqlite3.Connection, grp: int, member: int, takes: bool) -> None:  # noqa: FBT001 - a column
    """Say whether a member wants a share."""
    connection.execute("UPDATE pabal_listening SET takes = ? WHERE grp = ? AND member = ?", (takes, grp, member))
    announce(connection)


def are_as_known(connection: sqlite3.Connection, grp: int, member: int, *, parts: int, epochs: int) -> bool:
    """Whether a living member owns just these parts, a bit each, and their epochs have this sum: so each is the same.

    It is asked in each transaction, and takes SQLite less than to tell the rows to Python.
    """
    query = (
        "SELECT sum(1 << part) = ? AND sum(epoch) = ? AND EXISTS (SELECT 1 FROM pabal_member WHERE id = ?)"
        " FROM pabal_slot WHERE grp = ? AND member = ?"
    )
    return bool(connection.execute(query, (parts, epochs, member, grp, member)).fetchone()[0])


def owned(connection: sqlite3.Connection, grp: int, member: int) -> dict[int, int]:
    """The epochs of the parts that a living member owns; none when it was declared dead."""
    return dict(
        connection.execute(
            "SELECT part, epoch FROM pabal_slot WHERE grp = ? AND member = ?"
            " AND EXISTS (SELECT 1 FROM pabal_member WHERE id = ?)",
            (grp, member, member),
        ).fetchall()
    )


def claim(connection: sqlite3.Connection, grp: int, member: int, most: int) -> list[Claim]:
    """Own up to `most` more parts, of those that nobody owns or whose owner is dead."""
    free = connection.execute(f"SELECT part FROM pabal_slot WHERE {_FREE} LIMIT ?", (grp, most)).fetchall()  # noqa: S608
    return [
        Claim(part, epoch, bool(clean))
        for (part,) in free
        for epoch, clean in connection.execute(
            "UPDATE pabal_slot SET member = ?, epoch = epoch + 1, clean = clean AND member IS NULL"
            " WHERE grp = ? AND part = ? RETURNING epoch, clean",
            (member, grp, part),
        ).fetchall()
    ]


def give_up(connection: sqlite3.Connection, grp: int, member: int, parts: Iterable[int]) -> None:
    """Leave parts to others, with nothing of them in hand."""
    connection.executemany(
        "UPDATE pabal_slot SET member = NULL WHERE grp = ? AND part = ? AND member = ?",
        [(grp, part, member) for part in parts],
    )
    announce(connection)


def trust(connection: sqlite3.Connection, grp: int, member: int, part: int) -> None:
    """What was in hand when the last owner died is settled."""
    connection.execute("UPDATE pabal_slot SET clean = 1 WHERE grp = ? AND part = ? AND member = ?", (grp, part, member))
