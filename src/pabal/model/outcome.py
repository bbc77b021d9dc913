"""How a delivery ends, and the exceptions by which a handler says so."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal

import msgspec

from pabal.model.errors import ConfigurationError

Reason = Literal["unrouted", "exhausted", "rejected", "undecodable", "expired", "abandoned", "overflow", "removed"]


class Failure(msgspec.Struct, frozen=True):
    """One failed attempt, kept with its message.

    `error` is one line (``ValueError: no such user``), `traceback` the whole text or empty. `cause` is the exception
    and where in the application it was raised (``ValueError at app/handlers.py:42 save``), or empty.
    """

    time: datetime
    attempt: int
    error: str
    traceback: str = ""
    cause: str = ""


class Acked(msgspec.Struct, frozen=True):
    """Done: the transport forgets the message for this group."""


class Released(msgspec.Struct, frozen=True):
    """Given back untouched: it comes again, to anyone of the group, and this was no attempt."""


class Retried(msgspec.Struct, frozen=True):
    """To come again after `after` seconds, with `failure` added to its history."""

    after: float
    failure: Failure | None = None


class Rejected(msgspec.Struct, frozen=True):
    """Undeliverable: ends as a dead letter with `reason`, and with `failure` added to its history."""

    reason: Reason
    failure: Failure | None = None


Outcome = Acked | Released | Retried | Rejected

ACKED = Acked()
RELEASED = Released()


class Settlement(Enum):
    """What became of a settlement."""

    DONE = "done"
    """The transport has recorded the outcome."""
    LOST = "lost"
    """The delivery was no longer ours: the lease ran out and the message belongs to somebody else."""
    UNKNOWN = "unknown"
    """No answer: the outcome may or may not be recorded, so the message may come again."""


class Retry(Exception):
    """Raised by a handler: try this message again.

    `after` is seconds from now; None follows the handler's backoff. It counts as a failed attempt. Raises
    ConfigurationError for a bad `after`.
    """

    def __init__(self, why: str = "", *, after: float | None = None) -> None:
        if after is not None and not 0 <= after < 1e10:
            raise ConfigurationError(f"after is seconds from now, at least 0, not {after!r}")
        super().__init__(why or "the handler asked for a retry")
        self.after = after


class Reject(Exception):
    """Raised by a handler: this message can never be handled; it becomes a dead letter at once."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why or "the handler rejected the message")
