"""How members of a group share its messages."""

import asyncio

from pabal import Bus
from tests.acceptance.seen import Seen


async def test_slow_handlers_hoard_nothing(url: str) -> None:
    """Two buses share ten slow messages about evenly: neither holds ready what the other could begin."""
    first, second, seen = Bus(url), Bus(url), Seen()
    for name, bus in (("first", first), ("second", second)):

        @bus.handler("a", group="g")
        async def handler(number: int, name: str = name) -> None:
            await asyncio.sleep(0.05)
            seen.add(name)

    async with first.running(), second.running():
        await first.publish_many("a", range(10))
        await seen.wait(10)
    assert 3 <= seen.count("first") <= 7


async def test_late_comer_gets_its_share(url: str) -> None:
    """A bus that joins while a slow one has a backlog takes part of it."""
    first, second, seen = Bus(url), Bus(url), Seen()
    stuck = asyncio.Event()

    @first.handler("a", group="g")
    async def slow(number: int) -> None:
        seen.add("slow")
        await stuck.wait()

    @second.handler("a", group="g")
    async def quick(number: int) -> None:
        seen.add("quick")

    async with first.running():
        await first.publish_many("a", range(20))
        await seen.wait(1)
        async with second.running():
            await seen.wait(16)
            assert seen.count("quick") >= 15
            stuck.set()
            await seen.wait(20)
