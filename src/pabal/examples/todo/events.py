"""What the parts of the app tell each other: all that they share."""

from __future__ import annotations

import msgspec

from pabal import Channel

LONGEST_ITEM = 500


class NewItem(msgspec.Struct, frozen=True):
    """Somebody wants an item. The message's id becomes the item's."""

    item: str


class ItemChanged(msgspec.Struct, frozen=True):
    """The text of an item is to be another."""

    id: str
    item: str


class DoneChanged(msgspec.Struct, frozen=True):
    """An item was ticked off, or is to be done again."""

    id: str
    done: bool


class ItemRemoved(msgspec.Struct, frozen=True):
    """An item is to go."""

    id: str


class Item(msgspec.Struct, frozen=True):
    """An item as the database has it."""

    id: str
    item: str
    done: bool = False
    removed: bool = False


NEW_ITEM = Channel("events.todo.newitem", NewItem)
ITEM_CHANGED = Channel("events.todo.itemchanged", ItemChanged)
DONE_CHANGED = Channel("events.todo.donechanged", DoneChanged)
ITEM_REMOVED = Channel("events.todo.itemremoved", ItemRemoved)
ITEM_SAVED = Channel("events.todo.itemsaved", Item)

EVENTS = (NEW_ITEM, ITEM_CHANGED, DONE_CHANGED, ITEM_REMOVED, ITEM_SAVED)


def check_item(text: str) -> str:
    """Return the text of an item without outer spaces; raises ValueError for one that is empty or too long."""
    text = text.strip()
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise ValueError("an item needs some text")
    if len(text) > LONGEST_ITEM:
        raise ValueError(f"an item has at most {LONGEST_ITEM} characters, and this one has {len(text)}")
    return text
