"""Publishing: one row for each group that takes the message, or a dead letter where none does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import msgspec

from pabal.messagebox.routing import Routing
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.cloudevents import pack
from pabal.model.errors import ConfigurationError, MessageTooLarge, PabalError
from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import GroupId, Post, Receipt

_INSERT = (
    "INSERT INTO pabal_message"
    " (grp, part, place, due, attempt, redrive, key, channel, message_id, errors, headers, body) VALUES "
)
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_AT_ONCE = 20
"""How many rows one statement inserts: each statement has to look up and to write the highest id."""
_DEAD = (
    "INSERT INTO pabal_dead (source, reason, parked, attempt, redrive, key, channel, message_id, errors, headers, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Draft(NamedTuple):
    """A post made ready for its rows, outside the transaction; `error` tells why it cannot be."""

    post: Post
    columns: tuple[object, ...] = ()  # from attempt to body
    error: PabalError | None = None


def draft(post: Post, *, max_body: int) -> Draft:
    """Make a post ready."""
    message = post.message
    try:
        check_size(message, max_body)
        packed = pack(message)
    except PabalError as error:
        return Draft(post, error=error)
    columns = (
        post.attempt,
        post.redrive,
        message.key,
        message.channel,
        message.id,
        history(post.errors),
        packed,
        message.body,
    )
    return Draft(post, columns)


def check_size(message: Message, max_body: int) -> None:
    """Raise MessageTooLarge for a body above the limit."""
    if len(message.body) > max_body:
        raise MessageTooLarge(
            f"the body of message {message.id} has {len(message.body)} bytes, "
            f"sqlite:// takes up to {max_body} (option max_body)"
        )


def history(errors: tuple[Failure, ...]) -> str | None:
    """Failures as they stand in their column."""
    return msgspec.json.encode(errors).decode() if errors else None


def publish(transaction: Transaction, drafts: Sequence[Draft]) -> list[Receipt]:
    """Write each draft's rows, and a dead letter for each listener without room and for what nobody takes."""
    routing, living = transaction.routing(), cache(transaction.living)
    rows: list[tuple[object, ...]] = []
    dead: list[tuple[object, ...]] = []
    receipts: list[Receipt] = []
    for post, columns, error in drafts:
        message = post.message
        if error is not None:
            receipts.append(Receipt(message.id, error=error))
            continue
        try:
            takers, full = _takers(transaction, post, routing, living, rows)
        except PabalError as problem:
            receipts.append(Receipt(message.id, error=problem))
            continue
        for grp in takers:
            part = routing.part(grp, message.key, message.id)
            if post.due is None or post.due <= transaction.now:
                rows.append((grp, part, 0, None, *columns))
                transaction.ready.add(grp)
            else:  # in an owned group it comes in as a new row when it is due
                rows.append((grp, part, -1 if grp in routing.owned else -2, post.due, *columns))
        dead += [(routing.source(grp), "overflow", transaction.now, *columns) for grp in full]
        if not takers and not full and post.park:
            dead.append((None, "unrouted", transaction.now, *columns))
        receipts.append(Receipt(message.id, bool(takers or full), len(takers)))
    _insert(transaction.connection, rows)
    if dead:
        transaction.connection.executemany(_DEAD, dead)
    return receipts


def ask(transaction: Transaction, draft: Draft) -> Receipt:
    """Write a draft's rows for those groups alone that somebody reads now; who asks waits, so nothing is parked."""
    post, columns, error = draft
    if error is not None:
        return Receipt(post.message.id, error=error)
    message, routing = post.message, transaction.routing()
    try:
        groups, private = routing.route(message.channel)
    except PabalError as problem:
        return Receipt(message.id, error=problem)
    takers = transaction.living().intersection((*groups, *private))
    rows = [(grp, routing.part(grp, message.key, message.id), 0, None, *columns) for grp in takers]
    _insert(transaction.connection, rows)
    transaction.ready |= takers
    return Receipt(message.id, bool(takers), len(takers))


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        connection.execute(_inserting(len(some)), [*chain.from_iterable(some)])


@cache
def _inserting(rows: int) -> str:
    return _INSERT + ", ".join([_ROW] * rows)


def _takers(
    transaction: Transaction,
    post: Post,
    routing: Routing,
    living: Callable[[], set[int]],
    rows: Sequence[tuple[object, ...]],
) -> tuple[Sequence[int], Sequence[int]]:
    """The groups that get a row, and those of listeners that have no room; `rows` are not in the table yet."""
    if post.group is not None:
        grp = routing.find(post.group)
        if grp is None:
            raise ConfigurationError(no_group(post.group))
        return (grp,), ()
    groups, private = routing.route(post.message.channel)
    if not private:
        return groups, ()
    listeners = [grp for grp in private if grp in living()]
    full = [grp for grp in listeners if not transaction.has_room(grp, unwritten=rows)]
    return (*groups, *(grp for grp in listeners if grp not in full)), full


def no_group(group: GroupId) -> str:
    """What is said when a group is asked for that is not there."""
    return f"there is no group {group.name!r} of {group.source!r}"
