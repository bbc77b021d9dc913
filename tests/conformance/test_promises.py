"""The list of promises is whole: every capability has its promises, and what is not asked has a reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.testing import PROMISES, not_asked, promises

# What a promise checks on the other side, where there is nothing to refuse.
SAID_OTHERWISE = {
    "durable": "findings_are_told",
    "max_body": "large_body_arrives",
}
# No transport writes in the user's own transaction through this contract yet.
WITHOUT_PROTOCOL = {"enlists"}
FLAGS = [name for name in Capabilities.__struct_fields__ if name not in WITHOUT_PROTOCOL]

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
    max_body=1_000_000,
)


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_has_a_promise_on_either_side(flag: str) -> None:
    """A flag is checked when it is declared, and when it is not: a wrong False is found too."""
    if flag in SAID_OTHERWISE:
        assert SAID_OTHERWISE[flag] in PROMISES
        return
    needs = [need for promise in PROMISES.values() for need in promise.needs if flag in need.fields]
    assert {need.met(EVERYTHING) for need in needs} == {True, False}


@pytest.mark.parametrize("order", Order)
def test_every_order_has_a_promise_of_its_own(order: Order) -> None:
    """Each kind of order is checked by something that is asked of no other."""
    asked = {each: {promise.name for promise in promises(replace(EVERYTHING, order=each))} for each in Order}
    others = set[str]().union(*(names for each, names in asked.items() if each is not order))
    assert asked[order] - others != set()


@pytest.mark.parametrize("capabilities", [Capabilities(), EVERYTHING], ids=["nothing", "everything"])
def test_what_is_not_asked_has_a_reason(capabilities: Capabilities) -> None:
    """Each promise is either asked, or left out for what the transport declares."""
    asked = {promise.name for promise in promises(capabilities)}
    left_out = not_asked(capabilities)
    assert asked | left_out.keys() == PROMISES.keys()
    assert asked & left_out.keys() == set()
    assert all("the transport declares" in reason for reason in left_out.values())


def test_every_promise_is_a_sentence() -> None:
    """A broken promise is reported by its sentence."""
    assert [promise.name for promise in PROMISES.values() if not promise.text.endswith(".")] == []
