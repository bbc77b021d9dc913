"""Groups: made by their first reader, kept until they are removed on purpose."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pabal.messagebox.sqlite import members, slots
from pabal.messagebox.sqlite.publish import no_group
from pabal.messagebox.sqlite.take import read_message
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.errors import ConfigurationError
from pabal.model.transport import GroupId, GroupStatus, OnDead

_REMOVED = (
    "INSERT INTO pabal_dead (source, name, seq, redrive, attempt, reason, parked, key, channel, message_id,"
    " errors, headers, body)"
    " SELECT ?, ?, id, redrive, attempt, 'removed', ?, key,"
    " channel, message_id, errors, headers, body FROM pabal_message WHERE grp = ? ORDER BY id"
)
_MEMBERS = (
    "SELECT count(*) FROM pabal_listening l JOIN pabal_member m ON m.id = l.member"
    " WHERE l.grp = ? AND m.alive_until > ?"
)
# The first count reads the index alone; the second looks at rows, but only at those that wait.
_ALL = "SELECT count(*) FROM pabal_message WHERE grp = ?"
_WAITING = "SELECT count(*), count(token) FROM pabal_message WHERE grp = ? AND place < 0 AND (due > ? OR due IS NULL)"
_TAKEN = (
    "SELECT count(*) FROM pabal_take t JOIN pabal_message m ON m.grp = t.grp AND m.place = 0"
    " AND m.id BETWEEN t.first AND t.last WHERE t.grp = ? AND t.due > ?"
)
_OLDEST = "SELECT channel, message_id, headers FROM pabal_message WHERE grp = ? ORDER BY id LIMIT 1"


class Mode(NamedTuple):
    """How a group is taken: shared, or owned with what becomes of a key whose message died."""

    taking: Literal["shared", "owned"] = "shared"
    on_dead: OnDead = "park"

    def __str__(self) -> str:
        return f"ordered with on_dead={self.on_dead!r}" if self.taking == "owned" else "unordered"


SHARED = Mode()


def register(transaction: Transaction, source: str, name: str, mode: Mode = SHARED, *, takes: bool = True) -> int:
    """The id of a group, which is made where it is new; who `takes` nothing yet does not change how it is taken.

    Raises ConfigurationError when the group is taken in another way by living members, or has a backlog.
    """
    connection = transaction.connection
    found = connection.execute(
        "SELECT id, taking, on_dead FROM pabal_group WHERE source = ? AND name = ?", (source, name)
    ).fetchone()
    if found is None:
        (grp,) = connection.execute(
            "INSERT INTO pabal_group (source, name, taking, on_dead) VALUES (?, ?, ?, ?) RETURNING id",
            (source, name, *mode),
        ).fetchone()
        _lay_out(connection, grp, mode)
    else:
        grp, was = found[0], Mode(*found[1:])
        if str(mode) != str(was):
            group = f"group {name!r} of {source!r}"
            if not takes:
                raise ConfigurationError(
                    f"{group} is read {was}, and who only pulls would read it {mode}: read it by a handler that says "
                    "the same, or remove the group first"
                )
            _change(transaction, grp, group, was, mode)
    return int(grp)


def listen(connection: sqlite3.Connection, grp: int, member: int) -> None:
    """Let `member` read a group."""
    connection.execute("INSERT OR IGNORE INTO pabal_listening (grp, member) VALUES (?, ?)", (grp, member))


def _change(transaction: Transaction, grp: int, group: str, was: Mode, mode: Mode) -> None:
    """Take the group in another way from now on. With a backlog the two ways would run the same rows."""
    connection = transaction.connection
    if connection.execute(_MEMBERS, (grp, transaction.now)).fetchone()[0]:
        raise ConfigurationError(
            f"{group} is read {was} by its living members and cannot be read {mode} beside them: "
            "say the same, or close them first"
        )
    backlog = int(connection.execute(_ALL, (grp,)).fetchone()[0])
    if backlog:
        raise ConfigurationError(
            f"{group} is read {was} and has a backlog of {backlog:,}; before it can be read {mode}, let it be handled, "
            "or remove the group (its backlog can be redriven once the group is there again)"
        )
    members.bury(connection, members.expired(connection, transaction.now))
    connection.execute("UPDATE pabal_group SET taking = ?, on_dead = ? WHERE id = ?", (*mode, grp))
    connection.execute("DELETE FROM pabal_slot WHERE grp = ?", (grp,))
    connection.execute("DELETE FROM pabal_take WHERE grp = ?", (grp,))
    connection.execute("UPDATE pabal_dead SET holds = NULL WHERE holds = ?", (grp,))
    _lay_out(connection, grp, mode)


def _lay_out(connection: sqlite3.Connection, grp: int, mode: Mode) -> None:
    if mode.taking == "owned":
        slots.lay_out(connection, grp)
    members.reroute(connection)


def unregister(connection: sqlite3.Connection, grp: int, member: int) -> None:
    """`member` reads the group no more; a private group ends with that."""
    connection.execute("DELETE FROM pabal_listening WHERE grp = ? AND member = ?", (grp, member))
    members.drop(
        connection,
        connection.execute("SELECT id FROM pabal_group WHERE id = ? AND name GLOB '~*'", (grp,)).fetchall(),
    )


def remove(transaction: Transaction, group: GroupId, *, discard: bool) -> int:
    """Remove a group; its backlog becomes dead letters (reason ``removed``) unless `discard`.

    Returns the size of the backlog. Raises ConfigurationError when there is no such group, or it has living
    members.
    """
    connection, now = transaction.connection, transaction.now
    grp = transaction.routing().find(group)
    if grp is None:
        raise ConfigurationError(no_group(group))
    living = connection.execute(_MEMBERS, (grp, now)).fetchone()[0]
    if living:
        raise ConfigurationError(
            f"group {group.name!r} of {group.source!r} has living members: close all {living} first"
        )
    members.bury(connection, members.expired(connection, now))
    backlog = int(connection.execute(_ALL, (grp,)).fetchone()[0])
    if not discard:
        connection.execute(_REMOVED, (group.source, group.name, now, grp))
    members.drop(connection, [(grp,)])
    return backlog


def statuses(connection: sqlite3.Connection, now: float) -> Sequence[GroupStatus]:
    """Every group but those of listeners, as it is now."""
    groups = connection.execute(
        "SELECT id, source, name FROM pabal_group WHERE name NOT GLOB '~*' ORDER BY source, name"
    ).fetchall()
    return [_status(connection, grp, source, name, now) for grp, source, name in groups]


def _status(connection: sqlite3.Connection, grp: int, source: str, name: str, now: float) -> GroupStatus:
    (everything,) = connection.execute(_ALL, (grp,)).fetchone()
    later, leased = connection.execute(_WAITING, (grp, now)).fetchone()
    (taken,) = connection.execute(_TAKEN, (grp, now)).fetchone()
    oldest = None
    for channel, message_id, headers in connection.execute(_OLDEST, (grp,)).fetchall():
        oldest = read_message(channel, message_id, headers, b"").time
    return GroupStatus(
        source=source,
        name=name,
        ready=everything - later - taken,
        waiting=later - leased,
        leased=leased + taken,
        oldest=oldest,
        members=connection.execute(_MEMBERS, (grp, now)).fetchone()[0],
    )
