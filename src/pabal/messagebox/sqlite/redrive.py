"""Dead letters that are dead no more: sent again, and kept to be read, or discarded."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from pabal.messagebox.sqlite.keys import bring_back
from pabal.messagebox.sqlite.letters import is_id
from pabal.messagebox.sqlite.publish import no_group
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.dead import MOST_REDRIVEN, NO_LETTER, REDRIVEN, Redriven
from pabal.model.errors import PabalError
from pabal.model.transport import GroupId

# The old id is free, since no id is given twice; the place in the group is kept by it.
_AGAIN = (
    "INSERT INTO pabal_message (id, grp, part, place, attempt, redrive, key, channel, message_id, headers, body)"
    " SELECT CASE WHEN EXISTS (SELECT 1 FROM pabal_message WHERE id = seq) THEN NULL ELSE seq END,"
    " ?, ?, ?, 0, redrive + 1, key, channel, message_id, headers, body FROM pabal_dead WHERE id = ? RETURNING id"
)
_GONE = "DELETE FROM pabal_dead WHERE id = ? RETURNING holds, key"
_KEEP = (
    "INSERT OR REPLACE INTO pabal_redriven (id, source, name, redrive, reason, parked, redriven, sent, channel,"
    " message_id, errors, edits, headers, body)"
    " SELECT id, source, name, redrive, reason, parked, ?, ?, channel, message_id, errors, edits, headers, body"
    " FROM pabal_dead WHERE id = ?"
)
_FORGET = (
    "DELETE FROM pabal_redriven WHERE id IN"
    " (SELECT id FROM pabal_redriven ORDER BY redriven DESC, id DESC LIMIT -1 OFFSET ?)"
)
_PENDING = (
    "SELECT 1 FROM pabal_redriven r, json_each(r.sent) s JOIN pabal_message m ON m.id = s.value"
    " WHERE r.id = ? AND m.message_id = r.message_id AND m.redrive = r.redrive + 1"
)


def redrive(transaction: Transaction, ids: Sequence[str]) -> list[Redriven]:
    """Send letters again, each to whom it failed for; attempts and failures begin again."""
    results = [_redrive(transaction, id) for id in ids]
    _forget(transaction)
    return results


def pending(connection: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    """Those of these redriven letters of which a message is still there."""
    return [id for id in ids if is_id(id) and connection.execute(_PENDING, (int(id),)).fetchone()]


def sent(transaction: Transaction, ids: Sequence[str]) -> int:
    """Letters were sent by another transport; returns how many there were."""
    kept = sum(_keep(transaction, int(id), []) for id in ids if is_id(id))
    _forget(transaction)
    return kept


def discard(transaction: Transaction, ids: Sequence[str]) -> int:
    """Delete letters; returns how many there were. The keys that they held up go on."""
    return sum(_delete(transaction, int(id)) for id in ids if is_id(id))


def _redrive(transaction: Transaction, id: str) -> Redriven:
    connection = transaction.connection
    found = (
        connection.execute(
            "SELECT source, name, reason, channel, message_id, key FROM pabal_dead WHERE id = ?", (int(id),)
        ).fetchone()
        if is_id(id)
        else None
    )
    if found is None:
        return Redriven(id, error=_missing(connection, id))
    source, name, reason, channel, message_id, key = found
    try:
        takers, missing = _takers(transaction, source, name, reason, channel)
    except PabalError as error:
        return Redriven(id, message_id, 0, str(error))
    if not takers:
        return Redriven(id, message_id, 0, missing)
    routing = transaction.routing()
    rows: list[int] = []
    for grp in takers:
        part = routing.part(grp, key, message_id)
        again = (grp, part, part + 1, int(id))
        rows.append(connection.execute(_AGAIN, again).fetchone()[0])
        transaction.ready.add(grp)
    _keep(transaction, int(id), rows)
    if not routing.owned.isdisjoint(takers):
        transaction.stir()
    return Redriven(id, message_id, len(takers))


def _takers(
    transaction: Transaction, source: str | None, name: str | None, reason: str, channel: str
) -> tuple[Sequence[int], str]:
    routing = transaction.routing()
    if name is not None:
        id = GroupId(source or channel, name)
        grp = routing.find(id)
        return (() if grp is None else (grp,)), no_group(id)
    groups, private = routing.route(channel)
    living = transaction.living() if private else set()
    listeners = [grp for grp in private if grp in living]
    if reason == "unrouted":
        missing = f"there is still no group and no listener that takes {channel!r}"
    else:
        groups = ()
        listeners = [grp for grp in listeners if source is None or routing.source(grp) == source]
        missing = f"no listener of {source or channel!r} is alive"
    if listeners:
        missing = f"every listener of {source or channel!r} is too far behind to take it"
    return [*groups, *(grp for grp in listeners if transaction.has_room(grp))], missing


def _keep(transaction: Transaction, id: int, rows: list[int]) -> int:
    transaction.connection.execute(_KEEP, (transaction.now, msgspec.json.encode(rows).decode(), id))
    return _delete(transaction, id)


def _delete(transaction: Transaction, id: int) -> int:
    """Delete a letter, and let its key go on where it held that up; returns 1, or 0 when there is none."""
    gone = transaction.connection.execute(_GONE, (id,)).fetchall()
    for holds, key in gone:
        if holds is not None:
            bring_back(transaction.connection, holds, transaction.routing().part(holds, key, ""), [key])
            transaction.stir()
    return len(gone)


def _forget(transaction: Transaction) -> None:
    transaction.connection.execute(_FORGET, (MOST_REDRIVEN,))


def _missing(connection: sqlite3.Connection, id: str) -> str:
    known = is_id(id) and connection.execute("SELECT 1 FROM pabal_redriven WHERE id = ?", (int(id),)).fetchone()
    return REDRIVEN if known else NO_LETTER
