"""What is to go wrong in a run, and where."""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

from pabal.model.errors import ConfigurationError

FaultKind = Literal["crash", "duplicate", "reorder", "delay", "freeze"]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
"""The simplest first: shrinking goes towards it."""

_WRITTEN = re.compile(r"([a-z]+)@([1-9][0-9]*)")


class Fault(msgspec.Struct, frozen=True, order=True):
    """One thing that goes wrong, when the run reaches its `point`-th point; written as ``crash@3``.

    `kind` is one of

    - ``crash``: the process that reached it is gone, with all that it has in memory; another takes its place.
    - ``duplicate``: what is published there is taken twice; the settlement that is sent there is lost on the way, so
      that its messages come again. Elsewhere nothing.
    - ``reorder``: what is about to go on there goes on last, once nothing else can; no time passes.
    - ``delay``: what is about to go on there goes on 5 seconds later.
    - ``freeze``: the process stands still, all of it, for one and a half leases, and goes on as if nothing had been;
      meanwhile another has taken over.
    """

    point: int
    kind: FaultKind

    def __str__(self) -> str:
        return f"{self.kind}@{self.point}"


class Plan(msgspec.Struct, frozen=True):
    """The faults of one run, by their points; written as ``crash@3 freeze@9``. An empty one: nothing goes wrong."""

    faults: tuple[Fault, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Plan:
        """The plan that is written so; raises ConfigurationError for what is none."""
        return cls(tuple(sorted(map(_fault, text.split()))))

    def at(self, point: int) -> FaultKind | None:
        """What goes wrong at a point."""
        return next((fault.kind for fault in self.faults if fault.point == point), None)

    def __str__(self) -> str:
        return " ".join(map(str, self.faults))


def _fault(text: str) -> Fault:
    written = _WRITTEN.fullmatch(text)
    kinds: dict[str, FaultKind] = {kind: kind for kind in KINDS}
    kind = None if written is None else kinds.get(written[1])
    if written is None or kind is None:
        raise ConfigurationError(f"{text!r} is no fault: write one of {', '.join(KINDS)}, @ and a point, as in crash@3")
    return Fault(int(written[2]), kind)
