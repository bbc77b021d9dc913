"""What keeps the messages of one key one after another."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush, heappushpop

import msgspec

from pabal.model.message import Message
from pabal.model.outcome import Failure


class Entry(msgspec.Struct, eq=False):
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
    __slots__ = ("behind", "holder")

    def __init__(self, holder: Entry) -> None:
        self.holder: Entry | None = holder
        self.behind: list[tuple[int, Entry]] = []


class Lanes:
    """One lane for each key that has a message out or to be retried: the others of the key stand behind it.

    When a message leaves its lane, only the first of those behind returns to the queue, so that a long line
    is never moved as a whole.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def admit(self, entry: Entry) -> bool:
        """Whether `entry` may go out now; otherwise it is put behind the one that is out."""
        key = entry.message.key
        if key is None:
            return True
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = _Lane(entry)
        elif lane.holder is None:
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
        if not lane.behind:
            del self._lanes[key]
            return None
        lane.holder = None
        return heappop(lane.behind)[1]

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
