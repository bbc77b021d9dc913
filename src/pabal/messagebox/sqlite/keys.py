"""The order of keys in an owned group: reading it, and what stands behind another message of its key.

A message is held while one of its key with a lower id waits for a retry or stands behind itself, and, where the
group parks, while a dead letter of its key had a lower id. Whoever reads a held message moves it out of the way,
behind; a few of a key return at once when what held them is gone. Whether a message is held is asked of the rows
each time: a return too many costs a little work, never the order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

AT_ONCE = 32
"""How many messages of a key return at once: more when these are done, so that a long line moves only once."""

Row = tuple[int, int, int, str, str, str | None, bytes, bytes, str | None, int, int, bool]
"""id, attempt, redrive, channel, message id, errors, headers, body, key, part, place, and whether it is held."""

_HOLDING = "-{0}place > 0 AND {0}token IS NULL AND {0}key IS NOT NULL AND ({0}due IS NULL OR {0}attempt > 0)"
_HELD = (
    "EXISTS (SELECT 1 FROM pabal_message w INDEXED BY pabal_message_holding"  # noqa: S608 - all of it is ours
    f" WHERE {_HOLDING.format('w.')} AND w.grp = m.grp AND w.place = -2 - m.part AND w.key = m.key AND w.id < m.id)"
)
_PARKED = (
    "EXISTS (SELECT 1 FROM pabal_dead d INDEXED BY pabal_dead_holding"
    " WHERE d.holds IS NOT NULL AND d.holds = m.grp AND d.key = m.key AND d.seq < m.id)"
)
_COLUMNS = (
    "m.id, m.attempt, m.redrive, m.channel, m.message_id, m.errors, m.headers, m.body, m.key, m.part, m.place,"
    " m.key IS NOT NULL AND {held}"
)
_FRESH = (
    f"SELECT {_COLUMNS} FROM pabal_message m WHERE m.grp = ? AND m.place = 0 AND m.id > ? AND (? >> m.part) & 1"  # noqa: S608
    " ORDER BY m.id LIMIT ?"
)
_FRESH_UNHELD = _FRESH.format(held="0")
# Most of the time nothing holds up any key, and asking that once is cheaper than asking it of each row.
_HOLDS_ANY = (
    "SELECT EXISTS (SELECT 1 FROM pabal_message INDEXED BY pabal_message_holding"  # noqa: S608
    f" WHERE {_HOLDING.format('')} AND grp = ?) OR EXISTS (SELECT 1 FROM pabal_dead INDEXED BY pabal_dead_holding"
    " WHERE holds IS NOT NULL AND holds = ?)"
)
_RETURNED = f"SELECT {_COLUMNS} FROM pabal_message m WHERE m.grp = ? AND m.place = ? AND m.id > ? ORDER BY m.id LIMIT ?"  # noqa: S608
_LAST_OF_FIRST = (
    "SELECT max(id) FROM (SELECT id FROM pabal_message WHERE grp = ? AND place = 0 AND (? >> part) & 1"
    " ORDER BY id LIMIT ?)"
)
_LAST_OF_RETURNED = "SELECT max(id) FROM (SELECT id FROM pabal_message WHERE grp = ? AND place = ? ORDER BY id LIMIT ?)"
_HAVE = "SELECT DISTINCT part FROM pabal_message WHERE grp = ? AND place = 0 AND (? >> part) & 1 AND id <= ?"
_NEWEST = "SELECT max(id) FROM pabal_message WHERE grp = ? AND place = 0"
# By id, which the plus signs say: SQLite would rather go through all that the group has.
_MOVE = (
    "UPDATE pabal_message AS m SET place = -2 - part WHERE m.id IN (SELECT value FROM json_each(?))"
    " AND +m.grp = ? AND +m.place >= 0 AND {held} RETURNING id"
)
_SET_ASIDE = (
    "UPDATE pabal_message SET place = -2 - part WHERE id IN (SELECT value FROM json_each(?))"
    " AND +grp = ? AND +place >= 0"
)
_KEEP_BEFORE = (
    "UPDATE pabal_message SET place = 1 + part WHERE id IN (SELECT value FROM json_each(?)) AND grp = ? AND place = 0"
)
_BRING_BACK = (
    "UPDATE pabal_message SET place = -1 - place WHERE id IN"  # noqa: S608
    f" (SELECT id FROM pabal_message INDEXED BY pabal_message_holding WHERE {_HOLDING.format('')}"
    " AND grp = ? AND place = ? AND key = ? AND due IS NULL ORDER BY id LIMIT ?) RETURNING id"
)
_STANDS = (
    "SELECT EXISTS (SELECT 1 FROM pabal_message INDEXED BY pabal_message_holding"  # noqa: S608
    f" WHERE {_HOLDING.format('')} AND grp = ? AND place = ? AND due IS NULL)"
)


class Keys:
    """The statements for one group; `parks`: whether its dead letters hold up their keys."""

    def __init__(self, grp: int, *, parks: bool) -> None:
        self._grp = grp
        held = f"({_HELD} OR {_PARKED})" if parks else _HELD
        self._fresh = _FRESH.format(held=held)
        self._returned = _RETURNED.format(held=held)
        self._move = _MOVE.format(held=held)

    def fresh(self, connection: sqlite3.Connection, *, parts: int, after: int, most: int) -> list[Row]:
        """The next rows in the order of publishing, of some parts: a bit each in `parts`."""
        (any_held,) = connection.execute(_HOLDS_ANY, (self._grp, self._grp)).fetchone()
        query = self._fresh if any_held else _FRESH_UNHELD
        return connection.execute(query, (self._grp, after, parts, most)).fetchall()

    def newest(self, connection: sqlite3.Connection) -> int:
        """The id of the last row in the order of publishing."""
        (id,) = connection.execute(_NEWEST, (self._grp,)).fetchone()
        return id or 0

    def returned(self, connection: sqlite3.Connection, part: int, *, after: int, most: int) -> list[Row]:
        """The next rows of a part that are ready again."""
        return connection.execute(self._returned, (self._grp, 1 + part, after, most)).fetchall()

    def first(self, connection: sqlite3.Connection, parts: Sequence[int], *, most: int) -> dict[int, int]:
        """For each part an id up to which are about its first `most` ready rows; 0: it has none."""
        chosen = mask(parts)
        (last,) = connection.execute(_LAST_OF_FIRST, (self._grp, chosen, most * len(parts))).fetchone()
        has = {part for (part,) in connection.execute(_HAVE, (self._grp, chosen, last or 0)).fetchall()}
        return {
            part: max(
                last if part in has else 0,
                connection.execute(_LAST_OF_RETURNED, (self._grp, 1 + part, most)).fetchone()[0] or 0,
            )
            for part in parts
        }

    def move(self, connection: sqlite3.Connection, ids: Sequence[int]) -> set[int]:
        """Move rows out of the way that are held; returns which were held still."""
        wanted = msgspec.json.encode(ids).decode()
        return {id for (id,) in connection.execute(self._move, (wanted, self._grp)).fetchall()}

    def set_aside(self, connection: sqlite3.Connection, ids: Sequence[int], *, before: Sequence[int]) -> None:
        """Move the ends of long lines out of the way, though nothing holds them; `before` is what stays of the lines.

        What is set aside comes back as ready again, which is read before all that is new: so what stays is that too.
        """
        connection.execute(_SET_ASIDE, (msgspec.json.encode(ids).decode(), self._grp))
        connection.execute(_KEEP_BEFORE, (msgspec.json.encode(before).decode(), self._grp))

    def stands(self, connection: sqlite3.Connection, part: int) -> bool:
        """Whether anything of a part stands behind."""
        return bool(connection.execute(_STANDS, (self._grp, -2 - part)).fetchone()[0])


def mask(parts: Iterable[int]) -> int:
    """A bit for each part, as an integer of SQLite's."""
    bits = sum(1 << part for part in parts)
    return bits - (1 << 64) if bits >> 63 else bits


def bring_back(connection: sqlite3.Connection, grp: int, part: int, keys: Iterable[str]) -> int | None:
    """Let the first of each key that stand behind be ready again; returns the lowest id, None: there were none."""
    back = [id for key in keys for (id,) in connection.execute(_BRING_BACK, (grp, -2 - part, key, AT_ONCE)).fetchall()]
    return min(back, default=None)
