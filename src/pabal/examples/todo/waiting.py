"""What was published and is not in the database yet, as far as this process knows."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import msgspec

from pabal.examples.todo.events import Item

MOST = 1000


class Change(msgspec.Struct, frozen=True):
    """What is on its way for one item, in the message of that id: a text, a tick or a removal.

    `by`: when it counts as lost, by `time.monotonic`; None: never, since the transport keeps it.
    """

    message: str
    item: str | None = None
    done: bool | None = None
    removed: bool = False
    by: float | None = None

    @property
    def lost(self) -> bool:
        """Whether it should have come by now."""
        return self.by is not None and time.monotonic() > self.by

    def shows_in(self, saved: Item) -> bool:
        """Whether the database has it."""
        return self.done in (None, saved.done) and (saved.removed or not self.removed)


class Waiting:
    """The latest change of each item that waits, oldest first; of `MOST` items, so that memory is bounded.

    It only tells people what to expect: the messages themselves wait in the transport, however many.
    """

    def __init__(self) -> None:
        self.changes: dict[str, Change] = {}

    def expect(self, id: str, change: Change) -> None:
        """A change of the item `id` was published."""
        self.changes[id] = change
        if len(self.changes) > MOST:
            del self.changes[next(iter(self.changes))]

    def settle(self, saved: Mapping[str, Item]) -> None:
        """Forget what the database shows."""
        for id, item in saved.items():
            if id in self.changes and self.changes[id].shows_in(item):
                del self.changes[id]

    def forget(self, messages: Collection[str]) -> None:
        """Forget the changes in these messages: they will not come."""
        self.changes = {id: change for id, change in self.changes.items() if change.message not in messages}
