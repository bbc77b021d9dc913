"""Taking what is ready, under a lease, and waking what is due."""

from __future__ import annotations

import secrets
import sqlite3

import msgspec

from pabal.messagebox.sqlite import takes
from pabal.messagebox.sqlite.takes import RowLease
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.clock import utc
from pabal.model.cloudevents import unpack
from pabal.model.errors import CodecError
from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import Delivery

# Always by id alone: with row values in IN, SQLite 3.40 updated one row of a hundred.
_TAKE_AGAIN = (
    "UPDATE pabal_message SET place = -2, due = ?, token = ?, attempt = attempt + 1 WHERE id IN"
    " (SELECT id FROM pabal_message WHERE grp = ? AND place = 1 ORDER BY id LIMIT ?)"
    " RETURNING id, attempt, redrive, channel, message_id, errors, headers, body"
)
_FRESH = (
    "SELECT id, attempt + 1, redrive, channel, message_id, errors, headers, body FROM pabal_message"
    " WHERE grp = ? AND place = 0 AND id > ? ORDER BY id LIMIT ?"
)
_FLOOR = "SELECT coalesce(max(last), 0) FROM pabal_take WHERE grp = ?"
_ANY_AGAIN = "EXISTS (SELECT 1 FROM pabal_message WHERE grp = ? AND place = 1)"
_STATE = f"SELECT ({_FLOOR}), {_ANY_AGAIN}"
_HAS_READY = (
    f"SELECT {_ANY_AGAIN} OR EXISTS (SELECT 1 FROM pabal_message WHERE grp = ? AND place = 0 AND id > ({_FLOOR}))"  # noqa: S608
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
_EARLIEST = "SELECT (SELECT min(due) FROM pabal_message WHERE due IS NOT NULL), (SELECT min(due) FROM pabal_take)"
_NEVER = float("inf")
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


class Taken:
    """Messages taken at once: some that were ready again, each under a lease of its own, and the next in line."""

    __slots__ = ("_again", "_fresh", "_token", "_until")

    def __init__(self, again: list[Row], fresh: list[Row], *, token: int, until: float) -> None:
        self._again = again
        self._fresh = fresh
        self._token = token
        self._until = until

    def __len__(self) -> int:
        return len(self._again) + len(self._fresh)

    def deliveries(self) -> list[Delivery]:
        """The rows as deliveries, in the order of publishing."""
        self._again.sort()  # RETURNING keeps no order
        last = self._fresh[-1][0] if self._fresh else 0
        return [*self._deliveries(self._again, 0), *self._deliveries(self._fresh, last)]

    def _deliveries(self, rows: list[Row], last: int) -> list[Delivery]:
        token, until = self._token, self._until
        return [
            Delivery(
                read_message(channel, message_id, headers, body),
                attempt,
                read_history(errors) if errors else (),
                redrive,
                RowLease(id, until, token, last),
            )
            for id, attempt, redrive, channel, message_id, errors, headers, body in rows
        ]


def take(connection: sqlite3.Connection, grp: int, most: int, *, until: float) -> Taken:
    """Lease up to `most` ready messages of a group: first those that are ready again, then the oldest of the others."""
    token = secrets.randbits(62)
    again: list[Row] = []
    floor, any_again = connection.execute(_STATE, (grp, grp)).fetchone()
    if any_again:
        again = connection.execute(_TAKE_AGAIN, (until, token, grp, most)).fetchall()
    fresh: list[Row] = connection.execute(_FRESH, (grp, floor, most - len(again))).fetchall()
    if fresh:
        takes.begin(connection, grp, first=fresh[0][0], last=fresh[-1][0], due=until)
    return Taken(again, fresh, token=token, until=until)


def has_ready(connection: sqlite3.Connection, grp: int) -> bool:
    """Whether a group has anything to take."""
    return bool(connection.execute(_HAS_READY, (grp, grp, grp)).fetchone()[0])


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
    transaction.ready |= woken | takes.expire(transaction, _MOST_WOKEN)


def earliest_due(connection: sqlite3.Connection) -> float:
    """When the next message is due; infinity: none waits."""
    (message, take_) = connection.execute(_EARLIEST).fetchone()
    return min(_NEVER if message is None else message, _NEVER if take_ is None else take_)
