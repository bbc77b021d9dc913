"""What a transport keeps of what a handler needs: the only place that decides about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.errors import CapabilityError
from pabal.model.names import is_pattern

Verdict = Literal["native", "emulated", "refused"]


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What one handler, listener or consumer asks of its transport. `group` None is a listener.

    `parks_keys`: of ordered messages, what follows a dead letter of its key is held back.
    """

    who: str
    source: str
    group: str | None
    ordered: bool = False
    parks_keys: bool = False
    at_most_once: bool = False
    start: bool = False


class Line(msgspec.Struct, frozen=True):
    """One line of a plan: what is needed by whom, the verdict, and the reason or the way out."""

    who: str
    need: str
    verdict: Verdict
    reason: str


def plan(needs: Needs, can: Capabilities, *, parks: bool | None = None) -> list[Line]:
    """Every need of one handler with its verdict on a transport that can do `can`.

    `parks` tells whether the transport keeps this bus's dead letters; None: it does where it can.
    """
    lines: list[Line] = []

    def line(need: str, otherwise: str, *, kept: bool) -> None:
        reason = "the transport does it" if kept else otherwise
        lines.append(Line(needs.who, need, "native" if kept else "refused", reason))

    if is_pattern(needs.source):
        line("pattern", "subscribe to each channel, or choose a transport with patterns", kept=can.patterns)
    if needs.group is None:
        line("broadcast", "choose a transport with broadcast", kept=can.broadcast)
        return lines
    line("group", "choose a transport with groups", kept=can.groups)
    if not needs.at_most_once:
        line(
            "at least once",
            'this transport may lose messages; permit it with delivery="at-most-once", or choose one that settles',
            kept=can.settles is not Settles.NONE,
        )
    if needs.ordered:
        line(
            "order per key",
            "leave out ordered=True, or choose a transport with order",
            kept=can.order is not Order.NONE,
        )
        if needs.parks_keys:
            line(
                "what follows a dead letter waits",
                "dead letters are kept elsewhere, so the transport cannot know which key has one: "
                'say on_dead="continue", or let the transport keep them (no dead_letters=URL)',
                kept=can.parks if parks is None else parks,
            )
    if needs.start:
        line("start", "leave out start=, or choose a transport that keeps a log", kept=can.replays)
    return lines


def refuse(lines: Iterable[Line]) -> None:
    """Raise CapabilityError when any line is refused; its text names each with the way out."""
    refused = [line for line in lines if line.verdict == "refused"]
    if refused:
        text = "\n".join(f"  {line.who}: {line.need} is refused: {line.reason}" for line in refused)
        raise CapabilityError(f"this transport cannot keep what the handlers need:\n{text}")
