"""Taking what is ready, under a lease, and waking what is due."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

import msgspec

from pabal.model.clock import utc
from pabal.model.cloudevents import unpack
from pabal.model.errors import CodecError
from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import Delivery

# Always by id alone: with row values in IN, SQLite 3.40 updated one row of a hundred.
_TAKE = (
    "UPDATE pabal_message SET part = -1 - part, due = ?, token = ?, attempt = attempt + 1 WHERE id IN"
    " (SELECT id FROM pabal_message WHERE grp = ? AND part = 0 ORDER BY id LIMIT ?)"
    " RETURNING id, attempt, redrive, channel, message_id, errors, headers, body"
)
_WAKE = (
    "UPDATE pabal_message SET part = -1 - part, due = NULL, token = NULL WHERE id IN"
    " (SELECT id FROM pabal_message WHERE due <= ? ORDER BY due LIMIT ?) AND part < 0 RETURNING grp"
)
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


class Lease:
    """What a delivery is known by: its row, and the token that the row has as long as it is ours.

    `until` is when the lease ends, by pabal's clock.
    """

    __slots__ = ("id", "token", "until")

    def __init__(self, id: int, token: int, until: float) -> None:
        self.id = id
        self.token = token
        self.until = until


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
                Lease(id, token, until),
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
        connection.execute("SELECT 1 FROM pabal_message WHERE grp = ? AND part = 0 LIMIT 1", (grp,)).fetchone()
        is not None
    )


def wake(connection: sqlite3.Connection, now: float) -> set[int]:
    """Make ready what is due: delays that passed, retries, and leases that ran out; returns their groups.

    At most a thousand messages at once, so that nobody waits long for a turn; the rest is due still.
    """
    return {grp for (grp,) in connection.execute(_WAKE, (now, _MOST_WOKEN)).fetchall()}


def earliest_due(connection: sqlite3.Connection) -> float:
    """When the next message is due; infinity: none waits."""
    due: Sequence[float | None] = connection.execute(
        "SELECT min(due) FROM pabal_message WHERE due IS NOT NULL"
    ).fetchone()
    return float("inf") if due[0] is None else due[0]
