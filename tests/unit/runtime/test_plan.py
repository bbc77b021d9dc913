from typing import Any, Literal

import pytest
from msgspec.structs import replace

from pabal import Backoff, CapabilityError
from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.runtime.plan import BusNeeds, Line, Needs, plan, plan_bus, plan_reader, refuse

EVERYTHING = Capabilities(
    broadcast=True,
    groups=True,
    durable=True,
    patterns=True,
    settles=Settles.EACH,
    order=Order.KEY,
    counts_attempts=True,
    counts_receivers=True,
    detects_unrouted=True,
    delays_retry=True,
    delays_publish=True,
    requests=True,
    parks=True,
    administers=True,
    examines=True,
    replays=True,
    keeps_history=True,
)
NOTHING = Capabilities()
BUS = BusNeeds()
NO_RETRY = Backoff(attempts=1)
AT_ONCE = Backoff(first=0)


def needs(source: str = "a", group: str | None = "g", **changes: Any) -> Needs:
    return Needs(who="save (a @ g)", source=source, group=group, **changes)


def verdicts(lines: list[Line]) -> dict[str, str]:
    return {line.need: line.verdict for line in lines}


@pytest.mark.parametrize(
    ("wanted", "native", "refused"),
    [
        (needs(), ["group", "at least once", "retry"], ["group", "at least once"]),
        (needs("a.*"), ["pattern", "group", "at least once", "retry"], ["pattern", "group", "at least once"]),
        (needs(group=None), ["broadcast"], ["broadcast"]),
        (needs("a.>", None), ["pattern", "broadcast"], ["pattern", "broadcast"]),
        (
            needs(ordered=True, parks_keys=True, retry=NO_RETRY),
            ["group", "at least once", "order per key", "what follows a dead letter waits"],
            ["group", "at least once", "order per key", "what follows a dead letter waits"],
        ),
        (needs(start=True), ["group", "at least once", "retry", "start"], ["group", "at least once", "start"]),
        (needs(at_most_once=True), ["group", "at least once", "retry"], ["group"]),
    ],
)
def test_a_reader_needs_what_it_says(wanted: Needs, native: list[str], refused: list[str]) -> None:
    """Each need is a line: native where the transport does it, refused with the way out where nothing does."""
    able, unable = plan_reader(wanted, BUS, EVERYTHING), plan_reader(wanted, BUS, NOTHING)
    assert dict.fromkeys(native, "native") == verdicts(able)
    assert refused == [line.need for line in unable if line.verdict == "refused"]
    refuse(able)
    with pytest.raises(CapabilityError) as refusal:
        refuse(unable)
    for line in unable:
        if line.verdict == "refused":
            assert f"{line.who}: {line.need} is refused: {line.reason}; {line.way_out}" in str(refusal.value)


def test_a_plan_says_how_long_a_message_is_kept() -> None:
    """What settles and is not durable keeps its word as long as it runs, and the reason says so."""
    for durable, told in ((True, False), (False, True)):
        line = plan_reader(needs(), BUS, replace(EVERYTHING, durable=durable))[1]
        assert ("native", told) == (line.verdict, "it is not durable" in line.reason)


FLAGS: dict[str, tuple[Any, list[str]]] = {
    "broadcast": (False, ["broadcast"]),
    "groups": (False, ["group"]),
    "patterns": (False, ["pattern"]),
    "settles": (Settles.NONE, ["at least once", "order per key"]),
    "order": (Order.NONE, ["order per key"]),
    "delays_retry": (False, ["retry"]),
    "delays_publish": (False, ["delay="]),
    "requests": (False, ["request"]),
    "parks": (False, ["what follows a dead letter waits"]),
    "replays": (False, ["start"]),
    "durable": (False, []),
    "enlists": (False, []),
    "administers": (False, []),
    "examines": (False, []),
    "counts_receivers": (False, []),
    "max_body": (1, []),
    # Either of the two counts how often a message failed, and a log keeps what nobody took.
    "counts_attempts": (False, []),
    "keeps_history": (False, []),
    "detects_unrouted": (False, []),
}


@pytest.mark.parametrize("flag", Capabilities.__struct_fields__)
def test_each_flag_is_asked_for_where_it_counts(flag: str) -> None:
    """What a transport with everything keeps is refused without the flag that keeps it, and nothing else is."""
    asked = [needs("a.>", ordered=True, parks_keys=True, start=True), needs(group=None)]
    assert {"native"} == set(verdicts(plan(asked, BUS, EVERYTHING)).values())
    without, lost = FLAGS[flag]
    lines = plan(asked, BUS, replace(EVERYTHING, **{flag: without}))
    assert lost == [line.need for line in lines if line.verdict == "refused"]
    assert all(line.way_out for line in lines if line.verdict == "refused")


def test_what_only_a_call_needs_does_not_stop_the_start() -> None:
    """A transport without delays and requests runs handlers; a call that needs them is refused when it comes."""
    without = replace(EVERYTHING, delays_publish=False, requests=False)
    lines = plan([needs()], BUS, without)
    assert ["delay=", "request"] == [line.need for line in lines if line.verdict == "refused"]
    refuse(lines)


def test_a_transport_that_settles_nothing_keeps_retries_in_memory() -> None:
    """Permitted to lose, a group is kept, and its failed messages are tried again all the same."""
    line = plan_reader(needs(at_most_once=True), BUS, replace(NOTHING, groups=True))[-1]
    assert ("retry", "emulated") == (line.need, line.verdict)
    assert "memory" in line.reason


@pytest.mark.parametrize(
    ("retry", "lacking", "kept"),
    [
        (Backoff(), ["delays_retry"], False),
        (AT_ONCE, ["delays_retry"], True),
        (NO_RETRY, ["delays_retry"], True),
        (Backoff(), ["counts_attempts"], True),
        (Backoff(), ["keeps_history"], True),
        (Backoff(), ["counts_attempts", "keeps_history"], False),
        (NO_RETRY, ["counts_attempts", "keeps_history"], True),
    ],
)
def test_a_retry_needs_a_wait_and_a_count(retry: Backoff, lacking: list[str], kept: bool) -> None:
    """A wait that the transport cannot keep is refused, and so is trying for ever; the bus's backoff counts alike."""
    can = replace(EVERYTHING, **dict.fromkeys(lacking, False))
    for wanted, bus in ((needs(retry=retry), BUS), (needs(), BusNeeds(retry=retry))):
        assert kept == all(line.verdict == "native" for line in plan_reader(wanted, bus, can))


def test_cumulative_settling_is_at_least_once() -> None:
    """A transport that settles up to a position keeps at least once."""
    refuse(plan([needs()], BUS, replace(EVERYTHING, settles=Settles.CUMULATIVE)))


def test_order_of_a_whole_channel_is_enough() -> None:
    """A transport that keeps the order of all keeps that of a key."""
    refuse(plan([needs(ordered=True)], BUS, replace(EVERYTHING, order=Order.CHANNEL)))


def test_a_key_waits_behind_its_dead_letter_only_where_the_letter_is() -> None:
    """With the dead letters in another box the transport cannot hold their keys back, so that must be said."""
    wanted = needs(ordered=True, parks_keys=True)
    refuse(plan([wanted], BUS, EVERYTHING))
    with pytest.raises(CapabilityError, match="continue"):
        refuse(plan([wanted], BusNeeds(box="sqlite:///dead.db"), EVERYTHING))
    refuse(plan([needs(ordered=True)], BusNeeds(box="sqlite:///dead.db"), EVERYTHING))


@pytest.mark.parametrize(
    ("unrouted", "flags", "box", "verdict", "stops"),
    [
        ("raise", {}, None, "native", False),
        ("raise", {"detects_unrouted": False}, None, "refused", True),
        ("drop", {"detects_unrouted": False, "parks": False}, None, "native", False),
        ("dead-letter", {}, None, "native", False),
        ("dead-letter", {}, "sqlite:///dead.db", "emulated", False),
        ("dead-letter", {"parks": False}, None, "emulated", False),
        ("dead-letter", {"parks": False, "groups": False}, None, "refused", True),
        ("dead-letter", {"parks": False}, "sqlite:///dead.db", "emulated", False),
        ("dead-letter", {"detects_unrouted": False, "parks": False}, None, "native", False),
        ("dead-letter", {"detects_unrouted": False, "replays": False}, None, "refused", False),
    ],
)
def test_what_nobody_takes_is_kept_or_refused(
    unrouted: Literal["dead-letter", "drop", "raise"],
    flags: dict[str, bool],
    box: str | None,
    verdict: str,
    stops: bool,
) -> None:
    """Each policy is kept by the transport, by a box or by its log; what nothing keeps is said before the start."""
    line = plan_bus(BusNeeds(unrouted=unrouted, box=box, handles=False), replace(EVERYTHING, **flags))[0]
    assert (f'unrouted="{unrouted}"', verdict, stops) == (line.need, line.verdict, line.stops)


@pytest.mark.parametrize(
    ("bus", "stops"),
    [
        (BusNeeds(unrouted="drop", handles=True), True),
        (BusNeeds(unrouted="drop", handles=False), False),
        (BusNeeds(unrouted="dead-letter", handles=False), True),
        (BusNeeds(unrouted="drop", handles=True, box="sqlite:///dead.db"), False),
    ],
)
def test_dead_letters_need_a_place_where_any_can_come_from(bus: BusNeeds, stops: bool) -> None:
    """A bus that handles messages, or keeps those that nobody takes, does not start without a place for them."""
    line = plan_bus(bus, replace(EVERYTHING, parks=False, groups=False))[1]
    assert ("dead letters", stops) == (line.need, line.stops)


def test_how_long_a_transport_keeps_them_is_said() -> None:
    """Dead letters in a memory that ends are native, and the plan says how long they last."""
    reasons = [plan_bus(BUS, replace(EVERYTHING, durable=durable))[1].reason for durable in (True, False)]
    assert ["the transport keeps them", "the transport keeps them, as long as it runs itself"] == reasons
