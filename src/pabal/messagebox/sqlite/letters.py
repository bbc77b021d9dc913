"""Dead letters: parked, found, counted, changed and discarded."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from pabal.messagebox.sqlite.publish import check_size, history
from pabal.messagebox.sqlite.take import read_history, read_message
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.clock import utc
from pabal.model.cloudevents import pack
from pabal.model.dead import Cause, Change, DeadLetter, Edit, LetterFilter

_PAGE_BYTES = 4_194_304
_PARK = (
    "INSERT INTO pabal_dead (source, name, redrive, attempt, reason, parked, key, channel, message_id, errors, edits,"
    " headers, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_PAGE = (
    "SELECT id, source, name, redrive, reason, parked, channel, message_id, errors, edits, headers, body, {redriven}"
    " FROM {table} WHERE {fits} AND id > :last ORDER BY id LIMIT 100"
)
_CAUSES = (
    "SELECT reason, channel, name, cause, count(*), min(parked), max(parked), max(id) FROM {table}"
    " WHERE {fits} GROUP BY reason, channel, name, cause"
)
_FITS = {
    "ids": "id IN (SELECT value FROM json_each(:ids))",
    "message_id": "message_id = :message_id",
    "channel": "channel = :channel",
    "name": "name = :name",
    "reason": "reason = :reason",
    "cause": "(cause = :cause OR substr(cause, 1, length(:cause) + 4) = :cause || ' at ')",
    # In whole microseconds, as datetimes are.
    "since": "round(parked * 1000000) >= :since",
    "until": "round(parked * 1000000) < :until",
}
_edits = msgspec.json.Decoder(tuple[Edit, ...]).decode


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
        _written(letter.edits),
        pack(message),
        message.body,
    )


def park(transaction: Transaction, rows: Sequence[tuple[object, ...]]) -> None:
    """Keep dead letters."""
    transaction.connection.executemany(_PARK, rows)


def page(connection: sqlite3.Connection, wanted: LetterFilter, after: int) -> list[DeadLetter]:
    """The next letters that fit, after the one of this id: up to a hundred, or a few megabytes of them."""
    cursor = _select(connection, _PAGE, wanted, last=after)
    letters: list[DeadLetter] = []
    size = 0
    for row in cursor:
        letter = _read(row)
        letters.append(letter)
        size += len(letter.message.body)
        if size > _PAGE_BYTES:
            break
    cursor.close()
    return letters


def causes(connection: sqlite3.Connection, wanted: LetterFilter) -> list[Cause]:
    """The letters that fit, counted by their causes."""
    rows = _select(connection, _CAUSES, wanted)
    return [
        Cause(
            reason=reason,
            channel=channel,
            group=name,
            cause=cause,
            count=count,
            oldest=utc(oldest),
            newest=utc(newest),
            example=str(example),
        )
        for reason, channel, name, cause, count, oldest, newest, example in rows
    ]


def edit(transaction: Transaction, id: str, change: Change, *, max_body: int) -> DeadLetter | None:
    """Change a letter's message; None: there is no such letter. Raises MessageTooLarge and CodecError."""
    found = page(transaction.connection, LetterFilter(ids=[id]), 0)
    if not found:
        return None
    message, edit = change.apply(found[0].message)
    check_size(message, max_body)
    edits = (*found[0].edits, edit)
    transaction.connection.execute(
        "UPDATE pabal_dead SET headers = ?, body = ?, edits = ? WHERE id = ?",
        (pack(message), message.body, _written(edits), int(id)),
    )
    return msgspec.structs.replace(found[0], message=message, edits=edits)


def is_id(text: str) -> bool:
    """Whether this may be a letter's id."""
    return text.isascii() and text.isdigit() and len(text) < 19


def _select(connection: sqlite3.Connection, query: str, wanted: LetterFilter, **more: int) -> sqlite3.Cursor:
    ids = None if wanted.ids is None else msgspec.json.encode([int(id) for id in wanted.ids if is_id(id)]).decode()
    asked = {
        "ids": ids,
        "message_id": wanted.message_id,
        "channel": wanted.channel,
        "name": wanted.group,
        "reason": wanted.reason,
        "cause": wanted.cause,
        "since": None if wanted.since is None else round(wanted.since.timestamp() * 1_000_000),
        "until": None if wanted.until is None else round(wanted.until.timestamp() * 1_000_000),
    }
    values = {name: value for name, value in asked.items() if value is not None}
    table, redriven = ("pabal_redriven", "redriven") if wanted.redriven else ("pabal_dead", "NULL")
    # Only what is asked for stands in the query, so that an index is of use.
    fits = " AND ".join(_FITS[name] for name in values) or "TRUE"
    return connection.execute(query.format(table=table, redriven=redriven, fits=fits), {**values, **more})


def _read(row: tuple[Any, ...]) -> DeadLetter:
    id, source, name, redrive, reason, parked, channel, message_id, errors, edits, headers, body, redriven = row
    return DeadLetter(
        id=str(id),
        message=read_message(channel, message_id, headers, body),
        reason=reason,
        source=source,
        group=name,
        attempts=read_history(errors),
        parked=utc(parked),
        redrives=redrive,
        edits=_edits(edits) if edits else (),
        redriven=None if redriven is None else utc(redriven),
    )


def _written(edits: tuple[Edit, ...]) -> str | None:
    return msgspec.json.encode(edits).decode() if edits else None
