"""What was published and is not in the database yet, as far as this process knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from pabal.examples.todo.events import Item

MOST = 1000


class Change(msgspec.Struct, frozen=True):
    """What is on its way for one item, in the message of that id; None: not this."""

    message: str
    item: str | None = None
    done: bool | None = None
    removed: bool | None = None

    def shows_in(self, saved: Item) -> bool:
        """Whether the database has it."""
        return self.done in (None, saved.done) and self.removed in (None, saved.removed)


class Waiting:
    """The latest change of each item that waits; of the newest `MOST` items, so that memory is bounded.

    It only tells people what to expect: the messages themselves wait in the transport, however many.
    """

    def __init__(self) -> None:
        self._changes: dict[str, Change] = {}

    def __len__(self) -> int:
        return len(self._changes)

    def expect(self, id: str, change: Change) -> None:
        """A change of the item `id` was published."""
        self._changes[id] = change
        if len(self._changes) > MOST:
            del self._changes[next(iter(self._changes))]

    def settle(self, saved: Mapping[str, Item], dead: Collection[str]) -> None:
        """Forget what the database shows, and the messages that are dead letters."""
        for id, change in list(self._changes.items()):
            if change.message in dead or (id in saved and change.shows_in(saved[id])):
                del self._changes[id]

    def get(self, id: str) -> Change | None:
        """What is on its way for an item."""
        return self._changes.get(id)

    @property
    def ids(self) -> Sequence[str]:
        """The items that something is on its way for, oldest first."""
        return list(self._changes)
