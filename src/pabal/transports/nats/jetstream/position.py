"""Where a message stands, as its acknowledgement's subject says it."""

from __future__ import annotations

from typing import NamedTuple

_SHORT = 9
"""Tokens of ``$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>``."""
_LONGER = 2
"""Tokens more, after the second, where the server names its domain and account."""
_DIGITS = 19
"""Of the time, in nanoseconds."""


class Position(NamedTuple):
    """A delivery of a stream's message: `delivered` counts from 1, `stored` is in nanoseconds since the epoch."""

    stream: str
    delivered: int
    sequence: int
    stored: str


def position(reply: str) -> Position | None:
    """Read an acknowledgement's subject; None: it is none."""
    tokens = reply.split(".")
    at = 0 if len(tokens) == _SHORT else _LONGER
    try:
        found = Position(tokens[2 + at], int(tokens[4 + at]), int(tokens[5 + at]), tokens[7 + at])
    except (ValueError, IndexError):
        return None
    return found if found.stored.isdecimal() and len(found.stored) <= _DIGITS else None
