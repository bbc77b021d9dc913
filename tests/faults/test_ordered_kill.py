"""The order of keys while members are killed and frozen; by hand for longer: python -m tests.faults.ordered_kill."""

from __future__ import annotations

from tests.faults import ordered_kill


async def test_keys_stay_in_order_while_members_are_killed() -> None:
    """Four processes, ten hot keys; one after another is killed, others are stopped: all in order, nothing lost."""
    result = await ordered_kill.run(6.0, pause=0.5)
    assert (result.lost, result.violations) == (0, 0)
    assert (result.killed, result.frozen > 0) == (12, True)
    assert result.published >= 100
