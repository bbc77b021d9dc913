"""Groups: made by their first reader, kept until they are removed on purpose."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from pabal.messagebox.sqlite import members
from pabal.messagebox.sqlite.publish import no_group
from pabal.messagebox.sqlite.take import read_message
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.errors import ConfigurationError
from pabal.model.transport import GroupId, GroupStatus

_REMOVED = (
    "INSERT INTO pabal_dead (source, name, part, seq, redrive, attempt, reason, parked, key, channel, message_id,"
    " errors, headers, body)"
    " SELECT ?, ?, CASE WHEN part < 0 THEN -1 - part ELSE part END, id, redrive, attempt, 'removed', ?, key,"
    " channel, message_id, errors, headers, body FROM pabal_message WHERE grp = ? ORDER BY id"
)
_MEMBERS = (
    "SELECT count(*) FROM pabal_listening l JOIN pabal_member m ON m.id = l.member"
    " WHERE l.grp = ? AND m.alive_until > ?"
)
# The first count reads the index alone; the second looks at rows, but only at those that wait.
_ALL = "SELECT count(*) FROM pabal_message WHERE grp = ?"
_WAITING = "SELECT count(*), count(token) FROM pabal_message WHERE grp = ? AND part < 0 AND due > ?"
_OLDEST = "SELECT channel, message_id, headers FROM pabal_message WHERE grp = ? ORDER BY id LIMIT 1"


def register(connection: sqlite3.Connection, source: str, name: str, member: int) -> int:
    """Let `member` read a group that is taken shared, and make the group where it is new; returns its id.

    Raises ConfigurationError when the group is taken in another way: the two would run the same rows.
    """
    found = connection.execute(
        "SELECT id, taking FROM pabal_group WHERE source = ? AND name = ?", (source, name)
    ).fetchone()
    if found is None:
        grp = connection.execute(
            "INSERT INTO pabal_group (source, name, taking) VALUES (?, ?, 'shared') RETURNING id", (source, name)
        ).fetchone()[0]
        members.reroute(connection)
    elif found[1] != "shared":
        raise ConfigurationError(f"group {name!r} of {source!r} is read ordered; every member must say the same")
    else:
        grp = found[0]
    connection.execute("INSERT OR IGNORE INTO pabal_listening (grp, member) VALUES (?, ?)", (grp, member))
    return int(grp)


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
    oldest = None
    for channel, message_id, headers in connection.execute(_OLDEST, (grp,)).fetchall():
        oldest = read_message(channel, message_id, headers, b"").time
    return GroupStatus(
        source=source,
        name=name,
        ready=everything - later,
        waiting=later - leased,
        leased=leased,
        oldest=oldest,
        members=connection.execute(_MEMBERS, (grp, now)).fetchone()[0],
    )
