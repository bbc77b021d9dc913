"""The explorer finds the bugs that handlers commonly have, and leaves those in peace that have none."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from pabal.testing import Explorer, ScenarioBroken
from tests.acceptance.exploring import shops

On = Literal["memory", "sqlite"]
both = pytest.mark.parametrize("on", ["memory", "sqlite"])


def found(explorer: Explorer, *kinds: Any) -> ScenarioBroken:
    """What letting each go wrong at each point finds; the scenario holds while nothing does."""
    explorer.run()
    with pytest.raises(ScenarioBroken) as broken:
        explorer.each(*kinds)
    return broken.value


@both
def test_publishing_before_the_commit_is_found(on: On) -> None:
    """The report names the line, the crash and what happened, and the plan shows it again."""
    explorer = Explorer(shops.publishes_before_commit, shops.order, shops.announced_is_billed, on=on)
    broken = found(explorer, "crash")
    assert "crash@3" == str(broken.plan)
    text = str(broken)
    assert "crash at point 3: process 1: m2 is taken, for 1 reader, bill has not been told (shops.py:" in text
    assert 'await context.publish("orders.billed", number)' in text
    assert "process 1: DIES HERE" in text
    assert "process 2: billing gets m1 (attempt 2)" in text
    assert 'To see it again: explorer.run("crash@3")' in text
    with pytest.raises(ScenarioBroken) as again:
        explorer.run("crash@3")
    assert str(broken) == str(again.value)


@both
def test_committing_before_the_publish_survives_everything(on: On) -> None:
    """A handler that commits, keyed by the message's id, and publishes what it has committed, has no such point."""
    explorer = Explorer(shops.commits_before_publish, shops.order, shops.announced_is_billed, on=on)
    points = explorer.points()
    assert len(points) * 4 + sum(point.doubles for point in points) + 1 == explorer.each()
    explorer.search(40)


@both
@pytest.mark.parametrize("shop", [shops.acks_before_effect, shops.buffers_in_memory])
def test_what_was_acknowledged_too_early_is_lost(on: On, shop: Any) -> None:
    """What a handler leaves undone when it ends is lost with its process, in a task or in a buffer."""
    explorer = Explorer(shop, shops.orders_and_ten_minutes, shops.each_sent_once, state=shops.Warehouse, on=on)
    broken = found(explorer, "crash")
    assert [("crash", "process 1")] == [(kind, point.process) for kind, point in broken.trace.faults]


@both
@pytest.mark.parametrize("kind", ["crash", "duplicate", "freeze"])
def test_an_effect_that_is_not_idempotent_is_found(on: On, kind: Any) -> None:
    """It happens twice where the acknowledgement does not arrive, or somebody else has taken over meanwhile."""
    explorer = Explorer(shops.is_not_idempotent, shops.order, shops.each_sent_once, state=shops.Warehouse, on=on)
    found(explorer, kind)


@both
def test_an_idempotent_effect_survives_everything(on: On) -> None:
    """One that remembers what it has done, where a crash cannot reach it, happens once."""
    explorer = Explorer(shops.is_idempotent, shops.orders, shops.each_sent_once, state=shops.Warehouse, on=on)
    explorer.each()
    explorer.search(40)
