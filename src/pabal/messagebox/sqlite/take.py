"""Taking what is ready, under a lease, and waking what is due."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

import msgspec

from pabal.messagebox.sqlite.lease import Lease
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.clock import utc
from pabal.model.cloudevents import unpack
from pabal.model.errors import CodecError
from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import Delivery

# Always by id alone: with row values in IN, SQLite 3.40 updated one row of a hundred.
_TAKE = (
    "UPDATE pabal_message SET place = -1 - place, due = ?, token = ?, attempt = attempt + 1 WHERE id IN"
    " (SELECT id FROM pabal_message WHERE grp = ? AND place = 0 ORDER BY id LIMIT ?)"
    " RETURNING id, attempt, redrive, channel, message_id, errors, headers, body"
)
_WAKE = (
    "UPDATE pabal_message SET place = -1 - place, due = NULL, token = NULL WHERE id IN"
    " (SELECT id FROM pabal_message WHERE due <= ? ORDER BY due LIMIT ?) AND place < 0 RETURNING grp"
)
# A delayed message of an owned group comes in when it is due, under a new id.
_RIPE = (
    "SELECT m.id FROM pabal_message m JOIN pabal_group g ON g.id = m.grp"
    " WHERE m.due <= ? AND m.place = -1 AND g.taking = 'owned' ORDER BY m.due, m.id LIMIT ?"
)
_RIPEN = (
    "INSERT INTO pabal_message (grp, part, place, attempt, redrive, key, channel, message_id, errors, headers, body)"
    " SELECT grp, part, 0, attempt, redrive, key, channel, message_id, errors, headers, body"
    " FROM pabal_message WHERE id = ?"
)
_RIPENED = "DELETE FROM pabal_message WHERE id = ?"
_MOST_WOKEN = 1000
_failures = msgspec.json.Decoder(tuple[Failure, ...]).decode

Row = tuple[int, int, int, str, str, str | None, bytes, bytes]


def read_message(channel: str, message_id: str, headers: bytes, body: bytes) -> Message:
    """The message of a row; with metadata that nobody can read it is what its columns tell.

    It must not be stuck: a handler, or a person with its dead letter, decides about it.
    """
    try:
        return unpack(channel, headers, body)
    except CodecError:
        return Message(id=message_id, channel=channel, body=body, type=channel, time=utc(0.0))


def read_history(errors: str | None) -> tuple[Failure, ...]:
    """The failures of a row."""
    if not errors:
        return ()
    try:
        return _failures(errors)
    except msgspec.DecodeError as error:
        return (Failure(utc(0.0), 0, f"unreadable history: {error}", errors),)


class RowLease(Lease):
    """The lease of one row: it is ours as long as the row has our token."""

    __slots__ = ("token",)

    def __init__(self, id: int, token: int, until: float) -> None:
        super().__init__(id, until)
        self.token = token


class Taken:
    """Rows taken at once, under one token."""

    __slots__ = ("_rows", "_token", "_until")

    def __init__(self, rows: list[Row], token: int, until: float) -> None:
        self._rows = rows
        self._token = token
        self._until = until

    def __len__(self) -> int:
        return len(self._rows)

    def deliveries(self) -> list[Delivery]:
        """The rows as deliveries, in the order of publishing."""
        self._rows.sort()  # RETURNING keeps no order
        token, until = self._token, self._until
        return [
            Delivery(
                read_message(channel, message_id, headers, body),
                attempt,
                read_history(errors),
                redrive,
                RowLease(id, token, until),
            )
            for id, attempt, redrive, channel, message_id, errors, headers, body in self._rows
        ]


def take(connection: sqlite3.Connection, grp: int, most: int, *, until: float) -> Taken:
    """Lease up to `most` ready messages of a group, the oldest first."""
    token = secrets.randbits(62)
    return Taken(connection.execute(_TAKE, (until, token, grp, most)).fetchall(), token, until)


def has_ready(connection: sqlite3.Connection, grp: int) -> bool:
    """Whether a group has anything to take."""
    return (
        connection.execute("SELECT 1 FROM pabal_message WHERE grp = ? AND place = 0 LIMIT 1", (grp,)).fetchone()
        is not None
    )


def wake(transaction: Transaction) -> None:
    """Make ready what is due: delays that passed, retries, and leases that ran out.

    At most a thousand messages at once, so that nobody waits long for a turn; the rest is due still.
    """
    connection, now = transaction.connection, transaction.now
    owned = transaction.routing().owned
    if owned:
        ripe = connection.execute(_RIPE, (now, _MOST_WOKEN)).fetchall()
        connection.executemany(_RIPEN, ripe)
        connection.executemany(_RIPENED, ripe)
        if len(ripe) == _MOST_WOKEN:
            return
    woken = {grp for (grp,) in connection.execute(_WAKE, (now, _MOST_WOKEN)).fetchall()}
    if woken & owned:
        transaction.stir()
    transaction.ready |= woken


def earliest_due(connection: sqlite3.Connection) -> float:
    """When the next message is due; infinity: none waits."""
    due: Sequence[float | None] = connection.execute(
        "SELECT min(due) FROM pabal_message WHERE due IS NOT NULL"
    ).fetchone()
    return float("inf") if due[0] is None else due[0]
