"""What keeps the messages of one key one after another."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush, heappushpop

import msgspec

from pabal.model.message import Message
from pabal.model.outcome import Failure


class Entry(msgspec.Struct, eq=False, gc=False):
    """A message in one queue.

    `sequence` is its place, 0 while a delayed publish has none; `attempt` counts the deliveries that were not
    given back; `deadline` is when its lease ends, in seconds since the epoch; `ended`: it is done, or a dead letter.
    """

    sequence: int
    message: Message
    attempt: int = 0
    errors: tuple[Failure, ...] = ()
    redrive: int = 0
    deadline: float = 0.0
    ended: bool = False


class _Lane:
    """`dead` has the places of dead letters that hold back whatever stands behind them."""

    __slots__ = ("behind", "dead", "holder")

    def __init__(self, holder: Entry | None) -> None:
        self.holder: Entry | None = holder
        self.behind: list[tuple[int, Entry]] = []
        self.dead: set[int] = set()

    def is_open(self, sequence: int) -> bool:
        """Whether the entry of this place may go out."""
        return self.holder is None and (not self.dead or sequence < min(self.dead))


class Lanes:
    """One lane for each key that has a message out, to be retried or dead: the others of the key stand behind it.

    When a message leaves its lane, only the first of those behind returns to the queue, so that a long line
    is never moved as a whole.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def may_go(self, entry: Entry) -> bool:
        """Whether `admit` would let `entry` go out now."""
        key = entry.message.key
        lane = self._lanes.get(key) if key is not None else None
        return lane is None or lane.is_open(entry.sequence)

    def admit(self, entry: Entry) -> bool:
        """Whether `entry` may go out now; otherwise it is put behind the one that is out."""
        key = entry.message.key
        if key is None:
            return True
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = _Lane(entry)
        elif lane.is_open(entry.sequence):
            lane.holder = entry
        else:
            heappush(lane.behind, (entry.sequence, entry))
            return False
        return True

    def end(self, entry: Entry) -> Entry | None:
        """`entry` is done; returns the one whose turn it is now."""
        key = entry.message.key
        if key is None:
            return None
        lane = self._lanes[key]
        lane.holder = None
        return self._next(key, lane)

    def bury(self, entry: Entry) -> Entry | None:
        """`entry` is a dead letter now, and holds back its key; returns the one that stood before it, if any."""
        key = entry.message.key
        if key is None:
            return None
        lane = self._lanes[key]
        lane.holder = None
        lane.dead.add(entry.sequence)
        return self._next(key, lane)

    def unearth(self, key: str | None, sequence: int) -> Entry | None:
        """The dead letter of this place is gone; returns the one whose turn it is now."""
        lane = self._lanes.get(key) if key is not None else None
        if lane is None or key is None or sequence not in lane.dead:
            return None
        lane.dead.remove(sequence)
        return self._next(key, lane) if lane.holder is None else None

    def _next(self, key: str, lane: _Lane) -> Entry | None:
        if lane.behind:
            return heappop(lane.behind)[1] if lane.is_open(lane.behind[0][0]) else None
        if not lane.dead:
            del self._lanes[key]
        return None

    def give_back(self, entry: Entry) -> Entry:
        """`entry` comes again; returns the one whose turn it is now, by its place: mostly `entry` itself."""
        lane = self._lanes.get(entry.message.key) if entry.message.key is not None else None
        if lane is None or lane.holder is not entry:
            return entry
        lane.holder = None
        return heappushpop(lane.behind, (entry.sequence, entry))[1]

    def behind(self) -> Iterator[Entry]:
        """All that stand behind another, in no order."""
        for lane in self._lanes.values():
            for _, entry in lane.behind:
                yield entry
