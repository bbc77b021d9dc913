"""What a transport keeps of what a bus and its handlers need, and what is added to it: the only place that decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.errors import CapabilityError
from pabal.model.names import is_pattern
from pabal.runtime.keeping import publishes_letters
from pabal.runtime.publisher import OnUnrouted
from pabal.runtime.retry import Backoff

Verdict = Literal["native", "emulated", "refused"]

BUS = "the bus"
UNROUTED = 'unrouted="{}"'
"""The need for what is to become of a message that nobody takes, to be filled with `BusNeeds.unrouted`."""
NOT_DURABLE = "; it is not durable: a restart, or a lack of room, may take that"
"""What a settling transport's promise to hand out again is worth less by."""
KEPT = "the transport keeps them"
"""Why dead letters are kept natively, and for good."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What one handler, listener or consumer asks of its transport. `group` None is a listener.

    `retry` None is the bus's. `parks_keys`: of ordered messages, what follows a dead letter of its key is held back.
    `pulls`: it takes messages by hand, and may give them back.
    """

    who: str
    source: str
    group: str | None
    retry: Backoff | None = None
    ordered: bool = False
    parks_keys: bool = False
    at_most_once: bool = False
    start: bool = False
    pulls: bool = False


class BusNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """What a bus as a whole asks of its transport.

    Attributes:
        unrouted: what is to become of a message that nobody takes.
        retry: the backoff of handlers that have none of their own.
        box: where its dead letters go instead of the transport, as it may be shown; None: nowhere else.
        handles: whether somebody handles messages, whose failures leave dead letters.
    """

    unrouted: OnUnrouted = "dead-letter"
    retry: Backoff = Backoff()
    box: str | None = None
    handles: bool = True


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a plan.

    Attributes:
        who: the handler, listener or consumer that needs it, or the bus.
        need: what is needed.
        verdict: whether the transport does it, something that pabal adds does it, or nothing does.
        reason: what does it, or why nothing does.
        way_out: what would keep a refused need; empty where nothing is refused.
        asked: False where it is needed only by calls that may never come. Those are refused, the start is not.
    """

    who: str
    need: str
    verdict: Verdict
    reason: str
    way_out: str = ""
    asked: bool = True

    @property
    def stops(self) -> bool:
        """Whether the bus refuses to start for it."""
        return self.verdict == "refused" and self.asked


def plan(needs: Iterable[Needs], bus: BusNeeds, can: Capabilities) -> list[Line]:
    """All needs of a bus and its handlers, each with its verdict on a transport that can do `can`."""
    return [*(line for each in needs for line in plan_reader(each, bus, can)), *plan_bus(bus, can)]


def plan_reader(needs: Needs, bus: BusNeeds, can: Capabilities) -> list[Line]:
    """The needs of one handler, listener or consumer."""
    lines = []

    def line(need: str, how: str, lacking: str, way_out: str, *, kept: bool) -> None:
        lines.append(_line(needs.who, need, how, lacking, way_out, kept=kept))

    if is_pattern(needs.source):
        line(
            "pattern",
            "the transport matches channels",
            "the transport knows single channels only",
            "subscribe to each channel, or choose a transport with patterns",
            kept=can.patterns,
        )
    if needs.group is None:
        line(
            "broadcast",
            "the transport gives each process its own copy",
            "the transport has no copies for single processes",
            "read it as a group, or choose a transport with broadcast",
            kept=can.broadcast,
        )
        return lines
    settles = can.settles is not Settles.NONE
    permit = 'permit it with delivery="at-most-once"'
    if needs.pulls:
        permit = "what is pulled has to be settled: read it with a handler or `pabal subscribe`"
    line(
        "group",
        "the transport shares messages out among the members",
        "the transport shares nothing out",
        "listen without a group, or choose a transport with groups",
        kept=can.groups,
    )
    if settles or not needs.at_most_once:
        line(
            "at least once",
            "the transport hands out again what was not settled" + ("" if can.durable else NOT_DURABLE),
            "the transport settles nothing, so that a message may be lost",
            f"{permit}, or choose a transport that settles",
            kept=settles,
        )
    else:
        line("at most once", "the handler permits it: the transport settles nothing", "", "", kept=True)
    retry = needs.retry or bus.retry
    if retry.attempts > 1:
        lines.append(_retry(needs.who, retry, can))
    if needs.ordered:
        line(
            "order per key",
            f"the transport keeps the order of {'a channel' if can.order is Order.CHANNEL else 'each key'}",
            "the transport keeps no order",
            "leave out ordered=True, or choose a transport with order",
            kept=settles and can.order is not Order.NONE,
        )
    if needs.ordered and needs.parks_keys:
        line(
            "what follows a dead letter waits",
            "the transport keeps the dead letters and knows their keys",
            "the transport does not keep the dead letters, so it cannot know which key has one",
            'say on_dead="continue", or leave out dead_letters= on a transport that keeps them',
            kept=can.parks and bus.box is None,
        )
    if needs.start:
        line(
            "start",
            "the transport keeps a log to start in",
            "the transport keeps no log to start in",
            "leave out start=, or choose a transport that keeps a log",
            kept=can.replays,
        )
    return lines


def plan_bus(bus: BusNeeds, can: Capabilities) -> list[Line]:
    """The needs of a bus as a whole."""
    return [_unrouted(bus, can), _dead_letters(bus, can), *_calls(can)]


def refuse(lines: Iterable[Line]) -> None:
    """Raise CapabilityError when a line stops the start; its text names each of those with the way out."""
    refused = [line for line in lines if line.stops]
    if refused:
        text = "\n".join(f"  {line.who}: {line.need} is refused: {line.reason}; {line.way_out}" for line in refused)
        raise CapabilityError(f"this transport cannot keep what is needed:\n{text}")


def _retry(who: str, retry: Backoff, can: Capabilities) -> Line:
    way_out = "leave it out with retry=Backoff(attempts=1), or choose a transport that does"
    if can.settles is Settles.NONE:
        how = "failed messages wait in the memory of their process; a drain makes dead letters of them (abandoned)"
        return Line(who=who, need="retry", verdict="emulated", reason=how)
    if not can.counts_attempts and not can.keeps_history:
        lacking = "the transport counts no attempts, so that a failing message would come for ever"
        return _line(who, "retry", "", lacking, way_out, kept=False)
    waits = retry.first > 0 and retry.most > 0
    return _line(
        who,
        "retry",
        "the transport counts the attempts" + (" and keeps the wait between them" if waits else ""),
        "the transport cannot wait before it hands out a message again",
        f"wait for nothing with retry=Backoff(first=0), {way_out}",
        kept=can.delays_retry or not waits,
    )


def _unrouted(bus: BusNeeds, can: Capabilities) -> Line:
    need = UNROUTED.format(bus.unrouted)
    if bus.unrouted == "drop":
        return _line(BUS, need, "what nobody takes is dropped, as the bus says", "", "", kept=True)
    if bus.unrouted == "raise":
        return _line(
            BUS,
            need,
            "the transport tells whether anybody takes a message",
            "the transport cannot know whether anybody takes a message",
            "leave out unrouted=, or choose a transport that knows",
            kept=can.detects_unrouted,
        )
    if can.detects_unrouted:
        return msgspec.structs.replace(_dead_letters(bus, can), need=need)
    if can.replays:
        return _line(BUS, need, "what nobody takes stays in the transport's log", "", "", kept=True)
    return Line(
        who=BUS,
        need=need,
        verdict="refused",
        reason="the transport cannot know whether anybody takes a message",
        way_out='make its groups before publishing, permit it with unrouted="drop", or choose a transport that knows',
        asked=False,
    )


def _dead_letters(bus: BusNeeds, can: Capabilities) -> Line:
    need = "dead letters"
    if bus.box is not None:
        return Line(who=BUS, need=need, verdict="emulated", reason=f"parked in {bus.box}")
    if publishes_letters(can, box=False):
        how = "published to the channel dead-letters, from where `pabal dead URL --box BOX` takes them into a box"
        return Line(who=BUS, need=need, verdict="emulated", reason=how)
    line = _line(
        BUS,
        need,
        KEPT if can.durable else f"{KEPT}, as long as it runs itself",
        "the transport keeps no dead letters",
        'give the bus a box for them, as in dead_letters="sqlite:///dead.db"',
        kept=can.parks,
    )
    return msgspec.structs.replace(line, asked=bus.handles or (bus.unrouted == "dead-letter" and can.detects_unrouted))


def _calls(can: Capabilities) -> Iterable[Line]:
    """What publishers and requesters may call for."""
    wanted = [
        ("delay=", "the transport keeps a message until its time", "the transport delays nothing", can.delays_publish),
        ("request", "the transport carries answers back", "the transport carries no answers", can.requests),
    ]
    for need, how, lacking, kept in wanted:
        line = _line(BUS, need, how, lacking, "leave it out, or choose a transport that does", kept=kept)
        yield msgspec.structs.replace(line, asked=kept)


def _line(who: str, need: str, how: str, lacking: str, way_out: str, *, kept: bool) -> Line:
    if kept:
        return Line(who=who, need=need, verdict="native", reason=how)
    return Line(who=who, need=need, verdict="refused", reason=lacking, way_out=way_out)
