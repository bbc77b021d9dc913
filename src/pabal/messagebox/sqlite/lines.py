"""What an owner of parts has in memory: rows that it has read, key by key, and what it has handed out."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

import msgspec

from pabal.messagebox.sqlite.keys import Row, mask
from pabal.messagebox.sqlite.lease import Lease

SHORT = 8
"""So many rows of a key are no long line."""


class Line(msgspec.Struct, eq=False):
    """The rows of one key that were read, in order; a row without a key has a line of its own.

    `busy`: one of the key is out, or its first row is about to go.
    """

    part: Part
    key: str | None
    rows: list[Row] = []
    busy: bool = False


class Hold(Lease, eq=False, gc=False):
    """A row that is out: handed over, at `since`, and not settled.

    `deadline` is when it comes again unless it is extended; `until` may be sooner, as sure as our heartbeat is.
    """

    line: Line
    row: Row
    since: float
    deadline: float


class Part:
    """A part that we own, with what we know of it.

    Attributes:
        number: which part.
        epoch: the slot's when we claimed it.
        floor: the last of what is ready again that was read; what becomes so below it is announced.
        dry: nothing was above the floor.
        held: the ids of all rows in memory.
        lines: the lines of keys.
        out: how many rows are out.
        closed: it is no longer ours, or about to be given up: nothing more goes out.
        behind: something of it stands behind.
        suspects: up to this id rows go out one by one, counted beforehand, and new ones beyond it are not read until
            these are settled: what killed our predecessor may be there, and comes nearer each time. 0: it was clean.
        known: all suspects have been read.
        counted: the suspects that are counted.
        alone: the line whose suspect is being counted or out.
        stalled: the lines that wait for it.
    """

    __slots__ = (
        "number",
        "epoch",
        "floor",
        "dry",
        "held",
        "lines",
        "out",
        "closed",
        "behind",
        "suspects",
        "known",
        "counted",
        "alone",
        "stalled",
    )

    def __init__(self, number: int, epoch: int, *, suspects: int, behind: bool) -> None:
        self.number = number
        self.epoch = epoch
        self.floor = 0
        self.dry = False
        self.held: set[int] = set()
        self.lines: dict[str, Line] = {}
        self.out = 0
        self.closed = False
        self.behind = behind
        self.suspects = suspects
        self.known = False
        self.counted: set[int] = set()
        self.alone: Line | None = None
        self.stalled: list[Line] = []

    def admit(self, row: Row) -> Line:
        """Put a row that was read into its line; returns the line."""
        key = row[8]
        line = self.lines.get(key) if key is not None else None
        if line is None:
            line = Line(self, key)
            if key is not None:
                self.lines[key] = line
        if line.rows and row < line.rows[-1]:
            insort(line.rows, row)
        else:
            line.rows.append(row)
        self.held.add(row[0])
        return line

    def drop(self, line: Line) -> list[Row]:
        """Forget what is read of a key; returns it."""
        dropped = list(line.rows)
        self.held.difference_update([row[0] for row in dropped])
        line.rows.clear()
        if line.key is not None and self.lines.get(line.key) is line:
            del self.lines[line.key]
        return dropped

    def shorten(self, line: Line) -> list[int]:
        """Forget the end of a long line; returns the ids, which are to be moved out of the way."""
        gone = [line.rows.pop()[0] for _ in range(len(line.rows) - SHORT)]
        self.held.difference_update(gone)
        return gone


class Known:
    """Parts, and what slots that are just these add up to: a bit each, and the sum of their epochs."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts = frozenset(parts)
        self.mask = mask(part.number for part in self.parts)
        self.epochs = sum(part.epoch for part in self.parts)
