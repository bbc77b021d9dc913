import pytest

from pabal import CapabilityError
from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.runtime.plan import Needs, plan, refuse

EVERYTHING = Capabilities(
    broadcast=True, groups=True, patterns=True, settles=Settles.EACH, order=Order.KEY, parks=True, replays=True
)
NOTHING = Capabilities()


def needs(source: str = "a", group: str | None = "g", **changes: bool) -> Needs:
    return Needs(who="save (a @ g)", source=source, group=group, **changes)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (needs(), ["group", "at least once"]),
        (needs("a.*"), ["pattern", "group", "at least once"]),
        (needs(group=None), ["broadcast"]),
        (needs("a.>", None), ["pattern", "broadcast"]),
        (needs(ordered=True), ["group", "at least once", "order per key"]),
        (
            needs(ordered=True, parks_keys=True),
            ["group", "at least once", "order per key", "what follows a dead letter waits"],
        ),
        (needs(start=True), ["group", "at least once", "start"]),
        (needs(at_most_once=True), ["group"]),
    ],
)
def test_needs(wanted: Needs, expected: list[str]) -> None:
    """Each need is a line: native where the transport does it, refused with the way out where it does not."""
    able, unable = plan(wanted, EVERYTHING), plan(wanted, NOTHING)
    assert [line.need for line in able] == [line.need for line in unable] == expected
    assert {line.verdict for line in able} == {"native"}
    assert {line.verdict for line in unable} == {"refused"}
    refuse(able)
    with pytest.raises(CapabilityError) as refusal:
        refuse(unable)
    for line in unable:
        assert f"{line.who}: {line.need} is refused: {line.reason}" in str(refusal.value)


def test_cumulative_settling_is_at_least_once() -> None:
    """A transport that settles up to a position keeps at least once."""
    refuse(plan(needs(), Capabilities(groups=True, settles=Settles.CUMULATIVE)))


def test_order_of_a_whole_channel_is_enough() -> None:
    """A transport that keeps the order of all keeps that of a key."""
    refuse(plan(needs(ordered=True), Capabilities(groups=True, settles=Settles.EACH, order=Order.CHANNEL)))


def test_what_follows_a_dead_letter_waits_only_where_the_letter_is() -> None:
    """A transport that parks cannot hold a key back when its dead letters are kept elsewhere; the way out is named."""
    wanted = needs(ordered=True, parks_keys=True)
    refuse(plan(wanted, EVERYTHING))
    with pytest.raises(CapabilityError, match='on_dead="continue"'):
        refuse(plan(wanted, EVERYTHING, parks=False))
    refuse(plan(needs(ordered=True), EVERYTHING, parks=False))
