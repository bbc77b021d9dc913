"""Publishing: one row for each group that takes the message, or a dead letter where none does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pabal.messagebox.routing import Routing
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.cloudevents import pack
from pabal.model.errors import ConfigurationError, MessageTooLarge, PabalError
from pabal.model.outcome import Failure
from pabal.model.transport import GroupId, Post, Receipt

_INSERT = (
    "INSERT INTO pabal_message"
    " (grp, part, place, due, attempt, redrive, key, channel, message_id, errors, headers, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UNROUTED = (
    "INSERT INTO pabal_dead (reason, parked, attempt, redrive, key, channel, message_id, errors, headers, body)"
    " VALUES ('unrouted', ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Draft(NamedTuple):
    """A post made ready for its rows, outside the transaction; `error` tells why it cannot be."""

    post: Post
    columns: tuple[object, ...] = ()  # from attempt to body
    error: PabalError | None = None


def draft(post: Post, *, max_body: int) -> Draft:
    """Make a post ready."""
    message = post.message
    if len(message.body) > max_body:
        return Draft(
            post,
            error=MessageTooLarge(
                f"the body of message {message.id} has {len(message.body)} bytes, "
                f"sqlite:// takes up to {max_body} (option max_body)"
            ),
        )
    try:
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


def history(errors: tuple[Failure, ...]) -> str | None:
    """Failures as they stand in their column."""
    return msgspec.json.encode(errors).decode() if errors else None


def publish(transaction: Transaction, drafts: Sequence[Draft], *, living: bool = False) -> list[Receipt]:
    """Write each draft's rows; with `living`, for those groups alone that somebody reads now."""
    routing = transaction.routing()
    alive: set[int] | None = transaction.living() if living else None
    rows: list[tuple[object, ...]] = []
    unrouted: list[tuple[object, ...]] = []
    receipts: list[Receipt] = []
    for post, columns, error in drafts:
        message = post.message
        if error is not None:
            receipts.append(Receipt(message.id, error=error))
            continue
        try:
            takers, private = _takers(routing, post)
        except PabalError as problem:
            receipts.append(Receipt(message.id, error=problem))
            continue
        if private and alive is None:
            alive = transaction.living()
        if alive is not None:
            kept = (*takers, *private) if living else private
            takers = (*(() if living else takers), *(grp for grp in kept if grp in alive))
        place, due = (-1, post.due) if post.due is not None and post.due > transaction.now else (0, None)
        for grp in takers:
            rows.append((grp, routing.part(grp, message.key, message.id), place, due, *columns))
            transaction.ready.add(grp)
        if not takers and post.park:
            unrouted.append((transaction.now, *columns))
        receipts.append(Receipt(message.id, bool(takers), len(takers)))
    if rows:
        transaction.connection.executemany(_INSERT, rows)
    if unrouted:
        transaction.connection.executemany(_UNROUTED, unrouted)
    return receipts


def no_group(group: GroupId) -> str:
    """What is said when a group is asked for that is not there."""
    return f"there is no group {group.name!r} of {group.source!r}"


def _takers(routing: Routing, post: Post) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if post.group is None:
        return routing.route(post.message.channel)
    grp = routing.find(post.group)
    if grp is None:
        raise ConfigurationError(no_group(post.group))
    return (grp,), ()
