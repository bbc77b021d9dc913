"""What the page shows: the database, and what is on its way to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from pabal import Bus, CapabilityError, DeadLetter
from pabal.examples.todo.events import Item
from pabal.examples.todo.handlers import SAVE
from pabal.examples.todo.items import Items
from pabal.examples.todo.waiting import Change, Waiting
from pabal.examples.todo.worker import Worker

MOST_ITEMS = 500
MOST_DEAD = 100


class Row(msgspec.Struct, frozen=True):
    """One item on the page: `saved` once it is in the database, `state` tells about its last change."""

    id: str
    item: str
    done: bool = False
    removed: bool = False
    saved: bool = True
    state: Literal["saved", "waiting", "dead", "lost"] = "saved"


class Handler(msgspec.Struct, frozen=True):
    """Whether a handler runs, and why not where nobody stopped it."""

    running: bool
    problem: str | None = None


class View(msgspec.Struct, frozen=True):
    """The whole page: items that are not saved yet come first.

    `more`: there are older items than these. `dead`: messages that could not be handled, at most `MOST_DEAD`.
    `away`: what carries the messages does not answer.
    """

    items: Sequence[Row]
    on_their_way: int
    handlers: Mapping[str, Handler]
    dead: int
    more: bool
    away: bool = False


async def look(bus: Bus, items: Items, waiting: Waiting, workers: Iterable[Worker]) -> View:
    """The page as it is now. Raises PabalError and SQLAlchemyError."""
    letters = await dead_letters(bus)
    dead = {letter.message.id for letter in letters if letter.group in (SAVE, None)}  # None: nobody was there at all
    if waiting.changes:
        waiting.settle(await items.find(waiting.changes))
        # The list shows that a tick did not arrive; an item would be gone from it.
        waiting.forget({change.message for change in waiting.changes.values() if change.lost and change.item is None})
    saved = await items.newest(MOST_ITEMS + 1)
    known = {item.id for item in saved}
    new = [
        Row(id, change.item, saved=False, state=_state(change, dead))
        for id, change in reversed(waiting.changes.items())
        if change.item is not None and id not in known
    ]
    return View(
        items=new + [_row(item, waiting.changes.get(item.id), dead) for item in saved[:MOST_ITEMS]],
        on_their_way=sum(_state(change, dead) == "waiting" for change in waiting.changes.values()),
        handlers={worker.name: Handler(worker.running, worker.problem) for worker in workers},
        dead=len(letters),
        more=len(saved) > MOST_ITEMS,
    )


async def dead_letters(bus: Bus) -> Sequence[DeadLetter]:
    """The app's dead letters, at most `MOST_DEAD`; none where they are kept elsewhere."""
    found: list[DeadLetter] = []
    try:
        async for letter in bus.dead_letters.list():
            if letter.message.channel.startswith("events.todo."):
                found.append(letter)
            if len(found) == MOST_DEAD:
                break
    except CapabilityError:
        return []
    return found


def _state(change: Change, dead: Collection[str]) -> Literal["waiting", "dead", "lost"]:
    if change.message in dead:
        return "dead"
    return "lost" if change.lost else "waiting"


def _row(item: Item, change: Change | None, dead: Collection[str]) -> Row:
    if change is None:
        return Row(item.id, item.item, item.done)
    if change.message in dead:
        return Row(item.id, item.item, item.done, state="dead")
    done = item.done if change.done is None else change.done
    return Row(item.id, item.item, done, removed=change.removed, state="waiting")
