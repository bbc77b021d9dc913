"""Every scenario once, on a message box; `make faults` does each many times."""

from __future__ import annotations

import pytest

from tests.faults.scenario import Scenario, perform
from tests.faults.scenarios import SCENARIOS
from tests.faults.subject import NotRun, embedded
from tests.servers.packages import left_out

EMBEDDED = [scenario for scenario in SCENARIOS if scenario.wants is None]


@pytest.mark.parametrize("scenario", EMBEDDED, ids=[scenario.name for scenario in EMBEDDED])
async def test_nothing_is_lost(scenario: Scenario) -> None:
    """Every acknowledged message ends handled or as a dead letter, whatever is done to the processes meanwhile."""
    if scenario.needs in left_out():
        pytest.skip(f"WITHOUT leaves {scenario.needs} out")
    try:
        account = await perform(scenario, embedded, times=1, seed="1")
    except NotRun as reason:
        pytest.fail(str(reason), pytrace=False)
    assert account is not None
    assert (account.lost, account.unexplained) == ([], [])
