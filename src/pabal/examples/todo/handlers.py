"""The handlers: each knows the events it reads and writes, and none of the others."""

from __future__ import annotations

import logging
from typing import Literal

from pabal import Bus, Context, Message, Reject
from pabal.examples.todo.events import (
    DONE_CHANGED,
    EVENTS,
    ITEM_CHANGED,
    ITEM_REMOVED,
    ITEM_SAVED,
    NEW_ITEM,
    DoneChanged,
    ItemChanged,
    ItemRemoved,
    NewItem,
    check_item,
)
from pabal.examples.todo.items import Items

SAVE, MUTATE, AUDIT = "save-handler", "mutating-handler", "audit-handler"

PERMITTED: Literal["at-most-once"] = "at-most-once"
"""On a transport that settles nothing an item may be lost with the process; everywhere else this changes nothing."""

audit_log = logging.getLogger("todo.audit")


def save_handler(bus: Bus, items: Items) -> Bus:
    """Write what happened to the database, then say that it is there.

    A message that comes twice is written once, and what is published for it has the same id again.
    """

    @bus.handler(NEW_ITEM, group=SAVE, concurrency=8, delivery=PERMITTED)
    async def save(new: NewItem, context: Context) -> None:
        message = context.message
        saved = await items.add(message.id, _checked(new.item), message.time.timestamp())
        await context.publish(ITEM_SAVED, saved)

    @bus.handler(ITEM_CHANGED, group=SAVE, concurrency=8, delivery=PERMITTED)
    async def change(changed: ItemChanged, context: Context) -> None:
        saved = await items.change(changed.id, _checked(changed.item), context.message.time.timestamp())
        await context.publish(ITEM_SAVED, saved)

    @bus.handler(DONE_CHANGED, group=SAVE, concurrency=8, delivery=PERMITTED)
    async def tick(changed: DoneChanged, context: Context) -> None:
        try:
            saved = await items.tick(changed.id, context.message.time.timestamp(), done=changed.done)
        except KeyError:
            raise Reject(f"there is no item {changed.id}") from None
        await context.publish(ITEM_SAVED, saved)

    @bus.handler(ITEM_REMOVED, group=SAVE, concurrency=8, delivery=PERMITTED)
    async def remove(removed: ItemRemoved, context: Context) -> None:
        try:
            saved = await items.remove(removed.id)
        except KeyError:
            raise Reject(f"there is no item {removed.id}") from None
        await context.publish(ITEM_SAVED, saved)

    return bus


def mutating_handler(bus: Bus) -> Bus:
    """Put a star before what is urgent: ``call mum!!`` becomes ``★ call mum``.

    It reads new items and publishes changed ones, which it does not read: no message goes round in circles.
    """

    @bus.handler(NEW_ITEM, group=MUTATE, delivery=PERMITTED)
    async def mutate(new: NewItem, context: Context) -> None:
        text = starred(new.item)
        if text != new.item:
            await context.publish(ITEM_CHANGED, ItemChanged(context.message.id, text), key=context.message.id)

    return bus


def audit_handler(bus: Bus) -> Bus:
    """Log every event of the app."""

    async def audit(message: Message) -> None:
        # %r, so that no text in a message can pretend to be a line of the log.
        audit_log.info("%s %s %r", message.channel, message.id, message.body.decode(errors="replace"))

    for event in EVENTS:  # one by one: not every transport knows patterns
        bus.handler(event.name, group=AUDIT, delivery=PERMITTED)(audit)
    return bus


def starred(text: str) -> str:
    """The text with a star before it instead of the ``!!`` at its end."""
    urgent = text.rstrip().rstrip("!").rstrip()
    return f"★ {urgent}" if urgent and text.rstrip().endswith("!!") else text


def _checked(text: str) -> str:
    try:
        return check_item(text)
    except ValueError as error:
        raise Reject(str(error)) from None
