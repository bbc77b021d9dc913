"""What the programs of a scenario are told: a handler by its message, a worker by its environment."""

from __future__ import annotations

import msgspec

from tests.faults.ledger import Fate


class Errand(msgspec.Struct):
    """The body of a message: its id, what its handler is to do with it, and bytes to make it large."""

    id: str
    fate: Fate
    padding: str = ""


class Task(msgspec.Struct, frozen=True):
    """What a worker is told.

    Attributes:
        who: its name and number.
        ledger: the file.
        channel: what it reads.
        group: the group that it is of.
        go: a file; while it is not there, what is to be held is.
        ordered: whether the group is.
        grace: the bus's, in seconds.
        patient: hold every message, not just those that are to be held.
        dead_letters: the box, where the transport keeps none.
    """

    who: str
    ledger: str
    channel: str
    group: str
    go: str
    ordered: bool = False
    grace: float = 30.0
    patient: bool = False
    dead_letters: str | None = None
