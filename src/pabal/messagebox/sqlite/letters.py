"""Dead letters: parked, listed, sent again, discarded."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from pabal.messagebox.sqlite.keys import bring_back
from pabal.messagebox.sqlite.publish import history, no_group
from pabal.messagebox.sqlite.take import read_history, read_message
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.clock import utc
from pabal.model.cloudevents import pack
from pabal.model.dead import DeadLetter, LetterFilter, Redriven
from pabal.model.errors import PabalError
from pabal.model.transport import GroupId

_PAGE_BYTES = 4_194_304
_PARK = (
    "INSERT INTO pabal_dead (source, name, redrive, attempt, reason, parked, key, channel, message_id, errors, headers,"
    " body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_PAGE = (
    "SELECT id, source, name, redrive, reason, parked, channel, message_id, errors, headers, body FROM pabal_dead"
    " WHERE id > :last"
    " AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))"
    " AND (:channel IS NULL OR channel = :channel)"
    " AND (:name IS NULL OR name = :name)"
    " AND (:reason IS NULL OR reason = :reason)"
    " ORDER BY id LIMIT 100"
)
# The old id is free, since no id is given twice; the place in the group is kept by it.
_AGAIN = (
    "INSERT INTO pabal_message (id, grp, part, place, attempt, redrive, key, channel, message_id, headers, body)"
    " SELECT CASE WHEN EXISTS (SELECT 1 FROM pabal_message WHERE id = seq) THEN NULL ELSE seq END,"
    " ?, ?, ?, 0, redrive + 1, key, channel, message_id, headers, body FROM pabal_dead WHERE id = ?"
)
_DISCARD = "DELETE FROM pabal_dead WHERE id = ? RETURNING source, name, key"


def letter_row(letter: DeadLetter) -> tuple[object, ...]:
    """The row of a letter, made outside the transaction; raises CodecError."""
    message = letter.message
    return (
        letter.source,
        letter.group,
        letter.redrives,
        len(letter.attempts),
        letter.reason,
        letter.parked.timestamp(),
        message.key,
        message.channel,
        message.id,
        history(letter.attempts),
        pack(message),
        message.body,
    )


def park(transaction: Transaction, rows: Sequence[tuple[object, ...]]) -> None:
    """Keep dead letters."""
    transaction.connection.executemany(_PARK, rows)


def page(connection: sqlite3.Connection, wanted: LetterFilter, after: int) -> list[DeadLetter]:
    """The next letters that fit, after the one of this id: up to a hundred, or a few megabytes of them."""
    ids = None if wanted.ids is None else msgspec.json.encode([int(id) for id in wanted.ids if _is_id(id)]).decode()
    cursor = connection.execute(
        _PAGE,
        {"last": after, "ids": ids, "channel": wanted.channel, "name": wanted.group, "reason": wanted.reason},
    )
    letters: list[DeadLetter] = []
    size = 0
    for id, source, name, redrive, reason, parked, channel, message_id, errors, headers, body in cursor:
        letters.append(
            DeadLetter(
                id=str(id),
                message=read_message(channel, message_id, headers, body),
                reason=reason,
                source=source,
                group=name,
                attempts=read_history(errors),
                parked=utc(parked),
                redrives=redrive,
            )
        )
        size += len(body)
        if size > _PAGE_BYTES:
            break
    cursor.close()
    return letters


def redrive(transaction: Transaction, ids: Sequence[str]) -> list[Redriven]:
    """Send letters again, each to whom it failed for; attempts and failures begin again."""
    return [_redrive(transaction, id) for id in ids]


def _redrive(transaction: Transaction, id: str) -> Redriven:
    connection = transaction.connection
    found = (
        connection.execute(
            "SELECT source, name, reason, channel, message_id, key FROM pabal_dead WHERE id = ?", (int(id),)
        ).fetchone()
        if _is_id(id)
        else None
    )
    if found is None:
        return Redriven(id, error="there is no such dead letter")
    source, name, reason, channel, message_id, key = found
    try:
        takers, missing = _takers(transaction, source, name, reason, channel)
    except PabalError as error:
        return Redriven(id, message_id, 0, str(error))
    if not takers:
        return Redriven(id, message_id, 0, missing)
    routing = transaction.routing()
    for grp in takers:
        part = routing.part(grp, key, message_id)
        connection.execute(_AGAIN, (grp, part, part + 1 if grp in routing.owned else 0, int(id)))
        transaction.ready.add(grp)
    connection.execute("DELETE FROM pabal_dead WHERE id = ?", (int(id),))
    for grp in takers:
        _set_free(transaction, grp, key)
    return Redriven(id, message_id, len(takers))


def _set_free(transaction: Transaction, grp: int, key: str | None) -> None:
    """A letter is gone: let its key go on where it held that up, and let the owner know."""
    routing = transaction.routing()
    if grp in routing.owned:
        if key is not None:
            bring_back(transaction.connection, grp, routing.part(grp, key, ""), [key])
        transaction.stir()


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
        return [*groups, *listeners], f"there is still no group and no listener that takes {channel!r}"
    if source is not None:
        listeners = [grp for grp in listeners if routing.source(grp) == source]
    return listeners, f"no listener of {source or channel!r} is alive"


def discard(transaction: Transaction, ids: Sequence[str]) -> int:
    """Delete letters; returns how many there were. The keys that they held up go on."""
    discarded = 0
    for id in filter(_is_id, ids):
        for source, name, key in transaction.connection.execute(_DISCARD, (int(id),)).fetchall():
            discarded += 1
            grp = transaction.routing().find(GroupId(source or "", name or ""))
            if grp is not None:
                _set_free(transaction, grp, key)
    return discarded


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
