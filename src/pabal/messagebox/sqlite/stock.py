"""What an owner of parts has read, hands out, and has out. It only reads; what it has to write, it leaves as chores."""

from __future__ import annotations

import sqlite3
from bisect import insort
from collections import deque
from collections.abc import Sequence
from enum import Enum

from pabal.messagebox.sqlite.keys import Keys, Row, mask
from pabal.messagebox.sqlite.lines import SHORT, Hold, Known, Line, Part
from pabal.messagebox.sqlite.news import News, read_news
from pabal.messagebox.sqlite.take import read_history, read_message
from pabal.model.transport import Delivery

_STRIDE = 100
_LONGEST_STRIDE = 800
"""How many rows are read at once: at first, and while most of them only move out of the way."""

_WINDOWS_AHEAD = 10
"""How many windows of rows may wait in memory, where few keys have many."""

_SLOW = 0.25
"""Seconds after which a message is slow: while there is no room, what stands behind it in a long line steps aside."""


class End(Enum):
    """What becomes of a row that is out no more."""

    DONE = "it is gone"
    BACK = "it may go out again as it is"
    AGAIN = "what follows of its key is to be read again, and itself where it is ready again"


class Stock:
    """The rows of one owner's parts, as far as they are in memory.

    Attributes:
        parts: what is owned.
        known: the same, as the file tells it at once.
        out: what is handed out and not settled, by row.
        unbalanced: others may have too many parts, or too few, or we give one up.
        met: rows that were read and are held: to be moved out of the way.
        aside: rows of the ends of long lines, each with what is out of its line: to be moved out of the way as well.
        to_count: lines whose first row is a suspect, to be counted before it goes out.
        through: parts whose suspects are settled.
    """

    def __init__(self, keys: Keys) -> None:
        self.parts: dict[int, Part] = {}
        self.known = Known(())
        self.out: dict[int, Hold] = {}
        self.unbalanced = True
        self.met: list[tuple[Part, Row]] = []
        self.aside: list[tuple[Hold, int]] = []
        self.to_count: list[Line] = []
        self.through: list[Part] = []
        self._keys = keys
        self._news = News()
        self._changed = True  # something was committed since we looked
        self._ready: deque[Line] = deque()
        self._floor = 0  # the last row in the order of publishing that was read
        self._dry = False  # nothing was above the floor
        self._stride = _STRIDE
        self._wet: dict[int, Part] = {}  # parts that may have something that is ready again
        self._open = 0  # a bit for each part whose rows are read
        self._unclean: list[Part] = []  # parts that have suspects
        self._full = False  # there was no room to read more

    @property
    def has_more(self) -> bool:
        """Whether there may be something to hand out at once."""
        return bool(self._changed or self._ready or (not self._full and (self._wet or not self._dry)))

    @property
    def has_chores(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.unbalanced or self.met or self.aside or self.to_count or self.through)

    # What has become ready.

    def notice(self) -> None:
        """Know that something was committed."""
        self._changed = True

    def rewind(self) -> None:
        """Read again all that is ready again: below the floor of a part is only what is out."""
        for part in self.parts.values():
            self._reread(part, 0)

    def sweep(self) -> None:
        """Read everything from the beginning: how far it was read is a hint, and no more."""
        self._changed = True
        self._floor, self._dry = 0, False
        self.rewind()

    def returned(self, part: Part, lowest: int) -> None:
        """Rows of a part are ready again, from this one on."""
        if not part.closed:
            self._reread(part, lowest - 1)

    def _reread(self, part: Part, floor: int) -> None:
        part.floor = min(part.floor, floor)
        part.dry = False
        self._wet[part.number] = part

    def _forget(self, part: Part, line: Line) -> None:
        """Meet what is read of a key once more."""
        for row in part.drop(line):
            self._read_again(part, row)

    def _read_again(self, part: Part, row: Row) -> None:
        if row[10]:
            self.returned(part, row[0])
        elif row[0] <= self._floor and not part.closed:
            self._floor = row[0] - 1
            self._dry = False

    # What goes out.

    def hand_out(
        self, connection: sqlite3.Connection, credit: int, *, now: float, window: int, lease: float, until: float
    ) -> list[Delivery]:
        """Read, and hand out up to `credit` rows, of each key one."""
        if self._changed or (len(self._ready) < credit and (self._wet or not self._dry)):
            # In one view of the file: what became ready again must not be overtaken by what came later.
            connection.execute("BEGIN")
            try:
                self._look(connection)
                self._read(connection, credit, now, _WINDOWS_AHEAD * window)
            finally:
                connection.execute("COMMIT")
        deliveries: list[Delivery] = []
        out, ready = self.out, self._ready
        deadline = now + lease
        until = min(until, deadline)
        while ready and len(deliveries) < credit:
            line = ready.popleft()
            part, id = line.part, line.rows[0][0]
            if (part.closed or id <= part.suspects) and not self._may_go(line):
                continue
            out[id] = hold = Hold(id, until, line, line.rows.pop(0), now, deadline)
            part.out += 1
            deliveries.append(_delivery(hold))
        for part in self._unclean:
            if part.known and part not in self.through and all(id > part.suspects for id in part.held):
                self.through.append(part)
        return deliveries

    def _look(self, connection: sqlite3.Connection) -> None:
        news = read_news(connection)  # of this very view: it may show more than what we know to have changed
        if news.stirred != self._news.stirred:
            self.rewind()
        self.unbalanced = self.unbalanced or news.members != self._news.members
        self._news = news
        if self._changed:
            self._changed = self._dry = False

    def _may_go(self, line: Line) -> bool:
        part = line.part
        if part.closed:
            line.busy = False
            self._forget(part, line)
            if part.alone is line:
                self._let_others_go(part)
            return False
        if part.alone not in (None, line):
            part.stalled.append(line)
            return False
        part.alone = line
        if line.rows[0][0] not in part.counted:
            self.to_count.append(line)
            return False
        return True

    def _read(self, connection: sqlite3.Connection, credit: int, now: float, most: int) -> None:
        room = most - sum(len(part.held) - part.out for part in self.parts.values())
        self._full = False
        while len(self._ready) < credit and (self._wet or not self._dry):
            if room <= 0:
                self._full = True
                self._make_room(now)
                return
            stride = min(self._stride, max(room, SHORT))
            if self._wet:
                part = next(iter(self._wet.values()))
                rows = self._keys.returned(connection, part.number, after=part.floor, most=stride)
                part.floor = rows[-1][0] if rows else part.floor
                part.dry = len(rows) < stride
                if part.dry:
                    del self._wet[part.number]
            else:
                rows = self._keys.fresh(connection, parts=self._open, after=self._floor, most=stride)
                self._dry = len(rows) < stride
                self._floor = max(self._floor, self._keys.newest(connection)) if self._dry else rows[-1][0]
                for part in self._unclean:
                    part.known = part.known or self._dry or self._floor >= part.suspects
            met = len(self.met)
            room -= self._admit(rows)
            if 2 * (len(self.met) - met) <= len(rows):
                self._stride = _STRIDE
            else:
                self._stride = min(4 * self._stride, _LONGEST_STRIDE)
                return  # these are to be moved first

    def _admit(self, rows: Sequence[Row]) -> int:
        admitted, parts, ready = 0, self.parts, self._ready
        for row in rows:
            part = parts[row[9]]
            if row[0] in part.held or (part.suspects and not row[10] and row[0] > part.suspects):
                continue
            if row[11]:
                self.met.append((part, row))
            else:
                line = part.admit(row)
                if not line.busy:
                    line.busy = True
                    ready.append(line)
                admitted += 1
        return admitted

    def _make_room(self, now: float) -> None:
        for hold in self.out.values():
            line = hold.line
            if now - hold.since >= _SLOW and len(line.rows) > SHORT and not line.part.suspects:
                self.aside += [(hold, id) for id in line.part.shorten(line)]

    def _queue(self, line: Line) -> None:
        if not line.busy:
            line.busy = True
            self._ready.append(line)

    # What comes back.

    def ended(self, ends: Sequence[tuple[Hold, End]]) -> None:
        """Rows are out no more."""
        out, gone = self.out, End.DONE
        for hold, end in ends:
            id = hold.id
            if out.get(id) is not hold:
                continue
            del out[id]
            hold.until = 0.0
            line = hold.line
            part = line.part
            part.out -= 1
            line.busy = False
            if end is gone:
                part.held.discard(id)
            elif end is End.BACK:
                insort(line.rows, hold.row)  # mostly the first; what was redriven meanwhile may come before it
            else:
                part.held.discard(id)
                self.returned(part, id)
                self._forget(part, line)
            if line.rows or line.key is None or part.closed or part.alone is line:
                self._go_on(part, line)
            elif part.lines.get(line.key) is line:
                del part.lines[line.key]

    def _go_on(self, part: Part, line: Line) -> None:
        if part.alone is line:
            self._let_others_go(part)
        if line.rows:
            self._queue(line)
        elif line.key is not None and part.lines.get(line.key) is line:
            del part.lines[line.key]
        if part.closed:
            self.unbalanced = self.unbalanced or not part.out

    def _let_others_go(self, part: Part) -> None:
        part.alone = None
        self._ready.extend(part.stalled)
        part.stalled.clear()

    # What was written.

    def moved(self, moved: set[int]) -> None:
        """Of the rows that were met these have been moved, and all that were to step aside; others are free again."""
        for part, row in self.met:
            if row[0] in moved:
                part.behind = True
            else:
                self._read_again(part, row)
        for hold, _ in self.aside:
            hold.line.part.behind = True
        self.met, self.aside = [], []

    def counted(self, counted: Sequence[tuple[Line, int | None]]) -> None:
        """Suspects were counted: each with its row's attempt; None: somebody has deleted it by hand."""
        self.to_count = []
        for line, attempt in counted:
            part, row = line.part, line.rows.pop(0)
            if attempt is None:
                part.held.discard(row[0])
                line.busy = False
                self._go_on(part, line)
            else:
                part.counted.add(row[0])
                line.rows.insert(0, (row[0], attempt, *row[2:]))
                self._ready.appendleft(line)

    def trusted(self) -> None:
        """The suspects of the parts that are through are forgotten."""
        for part in self.through:
            self._floor, self._dry = min(self._floor, part.suspects), False
            part.suspects = 0
            part.counted.clear()
        self.through = []
        self._unclean = [part for part in self._unclean if part.suspects]

    def balanced(self, going: Sequence[Part], claimed: Sequence[Part]) -> None:
        """Of the parts `going`, those with nothing out are gone, and nothing more goes out from the others."""
        self.unbalanced = False
        again = [part for part in self.parts.values() if part.closed and part not in going]
        for part in self.parts.values():
            part.closed = part in going
        for part in going:
            self._wet.pop(part.number, None)
            if not part.out:
                del self.parts[part.number]
        self.parts.update((part.number, part) for part in claimed)
        if again or claimed:
            self._floor, self._dry = 0, False
        for part in (*again, *claimed):
            self._reread(part, 0)
        self.known = Known(self.parts.values())
        self._open = mask(part.number for part in self.parts.values() if not part.closed)
        self._unclean = [part for part in self.parts.values() if part.suspects]


def _delivery(hold: Hold) -> Delivery:
    _, attempt, redrive, channel, message_id, errors, headers, body, _, _, _, _ = hold.row
    message, failures = read_message(channel, message_id, headers, body), read_history(errors) if errors else ()
    return Delivery(message, attempt + 1, failures, redrive, hold)
