"""What happened in a run, in order, in words."""

from __future__ import annotations

import msgspec

from pabal.testing.exploring.plan import FaultKind


class Point(msgspec.Struct, frozen=True):
    """A moment of a run at which something can go wrong.

    Attributes:
        number: its place among the points of the run, from 1.
        process: who reached it.
        text: what was happening.
        standing: how far that has come.
        place: file and line of the user's code, and what stands there; empty where there is none.
        doubles: whether what crosses here can be doubled.
    """

    number: int
    process: str
    text: str
    standing: str
    place: str = ""
    doubles: bool = False

    def __str__(self) -> str:
        return f"{self.process}: {self.text}, {self.standing}{f' ({self.place})' if self.place else ''}"


class Event(msgspec.Struct, frozen=True):
    """One line of a trace: at `time` (seconds since the run began) `who` did `text`; `point` where that is one."""

    time: float
    who: str
    text: str
    place: str = ""
    point: int | None = None

    def __str__(self) -> str:
        number = "" if self.point is None else f"{self.point}"
        place = f"    [{self.place}]" if self.place else ""
        return f"{self.time:8.1f} s {number:>4}  {self.who}: {self.text}{place}"


class Trace:
    """The events, points and faults of a run."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.points: list[Point] = []
        self.faults: list[tuple[FaultKind, Point]] = []

    def __str__(self) -> str:
        return "\n".join(map(str, self.events))
