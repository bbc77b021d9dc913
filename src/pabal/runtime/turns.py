"""Turns: of each key one delivery at a time, in order, at a worker that may be handed several."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pabal.model.transport import Delivery


class Turns:
    """What the worker of an ordered handler holds and has not started.

    `ready` has those that may begin now, of each key at most one; `behind` counts those that stand behind another of
    their key. A key that is on its way back takes nothing until the transport has recorded that: what arrives of it
    meanwhile was sent before, and would overtake what was given back.
    """

    def __init__(self) -> None:
        self.ready: deque[Delivery] = deque()
        self.behind = 0
        # Behind the one of the key that is ready or runs; mostly nothing is, and then there is no deque.
        self._lines: dict[str, deque[Delivery] | None] = {}
        self._returning: dict[str, set[Delivery]] = {}

    def __contains__(self, delivery: Delivery) -> bool:
        key = delivery.message.key
        return delivery in self.ready or (key is not None and delivery in (self._lines.get(key) or ()))

    def is_full(self, window: int) -> bool:
        """Whether to read no more for now: the window is full, or the transport has yet to record what goes back."""
        return bool(self._returning) or len(self.ready) + self.behind >= window

    def take(self, delivery: Delivery, most: int) -> bool:
        """Line `delivery` up; False: its key has `most` here already, or is on its way back."""
        key = delivery.message.key
        if key is None:
            self.ready.append(delivery)
            return True
        if key in self._returning:
            return False
        if key not in self._lines:
            self._lines[key] = None
            self.ready.append(delivery)
            return True
        line = self._lines[key]
        if line is None:
            line = self._lines[key] = deque()
        if len(line) + 1 >= most:
            return False
        line.append(delivery)
        self.behind += 1
        return True

    def end(self, delivery: Delivery) -> None:
        """`delivery` is done: the next of its key is ready."""
        key = delivery.message.key
        if key is None:
            return
        line = self._lines.get(key)
        if line:
            self.ready.append(line.popleft())
            self.behind -= 1
        else:
            self._lines.pop(key, None)

    def break_off(self, delivery: Delivery) -> list[Delivery]:
        """`delivery` comes again: returns what stands behind it and has to go back with it, in order."""
        key = delivery.message.key
        line = self._lines.pop(key, None) if key is not None else None
        later = list(line or ())
        self.behind -= len(later)
        return later

    def lose(self, delivery: Delivery) -> list[Delivery]:
        """`delivery` is somebody else's now: drops it if it has not started; returns what has to go back, in order."""
        if delivery in self.ready:
            self.ready.remove(delivery)
            return self.break_off(delivery)
        key = delivery.message.key
        line = self._lines.get(key) if key is not None else None
        if not line:
            return []
        later = list(line)
        if delivery in line:
            later = later[later.index(delivery) + 1 :]
            line.remove(delivery)
            self.behind -= 1
        for one in later:
            line.remove(one)
        self.behind -= len(later)
        return later

    def clear(self) -> list[Delivery]:
        """Drop and return all that has not started."""
        every = [*self.ready, *(delivery for line in self._lines.values() for delivery in line or ())]
        self.ready.clear()
        self.behind = 0
        self._lines.clear()
        return every

    def returning(self, delivery: Delivery) -> None:
        """`delivery` is on its way back."""
        if delivery.message.key is not None:
            self._returning.setdefault(delivery.message.key, set()).add(delivery)

    def recorded(self, deliveries: Iterable[Delivery]) -> None:
        """The transport has recorded how these ended."""
        if not self._returning:
            return
        for delivery in deliveries:
            key = delivery.message.key
            returning = self._returning.get(key) if key is not None else None
            if returning is not None and key is not None:
                returning.discard(delivery)
                if not returning:
                    del self._returning[key]
