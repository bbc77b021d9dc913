"""What the page shows: the database, and what is on its way to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pabal import Bus, CapabilityError, DeadLetter
from pabal.examples.todo.items import Items
from pabal.examples.todo.waiting import Change, Waiting
from pabal.examples.todo.worker import Worker

MOST_ITEMS = 500
MOST_DEAD = 100


class Row(msgspec.Struct, frozen=True):
    """One item on the page; `waiting` names what is on its way to the database, or is empty."""

    id: str
    item: str
    done: bool = False
    waiting: str = ""


class Handler(msgspec.Struct, frozen=True):
    """Whether a handler runs, and why not where nobody stopped it."""

    running: bool
    problem: str | None = None


class View(msgspec.Struct, frozen=True):
    """The whole page: items that are not saved yet come first.

    `more`: there are older items than these. `dead`: messages that could not be handled, at most `MOST_DEAD`.
    """

    items: Sequence[Row]
    on_their_way: int
    handlers: Mapping[str, Handler]
    dead: int = 0
    more: bool = False


async def look(bus: Bus, items: Items, waiting: Waiting, workers: Iterable[Worker]) -> View:
    """The page as it is now. Raises PabalError and SQLAlchemyError."""
    dead = await dead_letters(bus)
    if len(waiting):
        waiting.settle(await items.find(waiting.ids), {letter.message.id for letter in dead})
    saved = await items.newest(MOST_ITEMS + 1)
    known = {item.id for item in saved}
    new = [
        Row(id, change.item, waiting="new")
        for id in reversed(waiting.ids)
        if id not in known and (change := waiting.get(id)) is not None and change.item is not None
    ]
    return View(
        items=new + [_row(Row(item.id, item.item, item.done), waiting.get(item.id)) for item in saved[:MOST_ITEMS]],
        on_their_way=len(waiting),
        handlers={worker.name: Handler(worker.running, worker.problem) for worker in workers},
        dead=len(dead),
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


def _row(row: Row, change: Change | None) -> Row:
    if change is None:
        return row
    if change.removed:
        return msgspec.structs.replace(row, waiting="removed")
    return msgspec.structs.replace(row, waiting="done", done=row.done if change.done is None else change.done)
