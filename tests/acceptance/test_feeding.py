"""How a worker gets its messages: while there is plenty, its lanes take them by themselves."""

import asyncio
from collections import Counter

import pytest

from pabal import Bus
from tests.acceptance.seen import Seen
from tests.acceptance.trouble import Trouble


async def test_a_lane_waits_for_nobody_while_there_is_plenty() -> None:
    """It handles many in one turn of the event loop, and then others have theirs."""
    bus, seen = Bus("memory://"), Seen()
    turn = 0

    @bus.handler("a", group="g")
    async def handler(_: int) -> None:
        seen.add(turn)

    async with bus.running():
        await bus.publish_many("a", range(1000))
        while len(seen) < 1000:
            turn += 1
            await asyncio.sleep(0)
    most = max(Counter(seen).values())
    assert 100 <= most <= 250


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_one_at_a_time_receives(trouble: Trouble, concurrency: int) -> None:
    """Lanes never receive while another does, and a receive that would wait is cancelled without a loss."""
    bus, seen = Bus(trouble.url), Seen()
    inside, most, waits = 0, 0, 0

    async def receiving(_: object) -> None:
        nonlocal inside, most, waits
        inside += 1
        most = max(most, inside)
        try:
            waits += 1
            if not waits % 3:
                await asyncio.sleep(0)
        finally:
            inside -= 1

    @bus.handler("a", group="g", concurrency=concurrency)
    async def handler(number: int) -> None:
        if not number % 7:
            await asyncio.sleep(0)
        seen.add(number)

    trouble.before["receive"] = receiving
    async with bus.running() as crew:
        await bus.publish_many("a", range(1000))
        assert sorted(await seen.wait(1000)) == list(range(1000))
    assert most == 1
    assert sum(counters.acked for counters in crew.report.handlers.values()) == 1000
