"""Leases: kept while a handler runs, and what becomes of a lost one."""

import asyncio

import pytest

from pabal import Bus, Context
from pabal.model.clock import VirtualClock
from tests.acceptance.seen import Seen, until
from tests.acceptance.trouble import Trouble


async def pass_time(clock: VirtualClock, seconds: float) -> None:
    """Turn the clock in small steps, so that what is due in between gets its turn."""
    for _ in range(int(seconds / 5)):
        clock.advance(5.0)
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.mark.parametrize("plain", [False, True])
async def test_long_handlers_keep_their_messages(trouble: Trouble, *, plain: bool) -> None:
    """A handler may run many times as long as the lease: its message, and those that wait behind it, stay ours."""
    clock = VirtualClock()
    first, second = (Bus(trouble.url + "?lease=30", clock=clock) for _ in range(2))
    seen = Seen()
    go_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def wait(number: int, context: Context) -> None:
        seen.add((number, context.attempt))
        await go_on.wait()

    def block(number: int, context: Context) -> None:
        asyncio.run_coroutine_threadsafe(wait(number, context), loop).result()

    for bus in (first, second):
        bus.handler("a", group="g")(block if plain else wait)
    async with first.running() as crew, second.running() as other:
        await first.publish_many("a", range(4))
        await seen.wait(2)
        await pass_time(clock, 300.0)
        assert len(seen) == 2
        go_on.set()
        assert sorted(await seen.wait(4)) == [(number, 1) for number in range(4)]
        counters = [*crew.counters.values(), *other.counters.values()]
        await until(lambda: sum(c.acked for c in counters) == 4)
    assert sum(c.lost for c in counters) == 0
    assert trouble.calls["extend"] >= 20


async def test_lost_lease(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    """What is no longer ours is not begun, and what runs settles as LOST; both are counted, others handle them."""
    clock = VirtualClock()
    away, there = Trouble(), trouble
    first, second = Bus(away.at(there), clock=clock), Bus(there.url + "?lease=30", clock=clock)
    begun, handled = Seen(), Seen()
    go_on = asyncio.Event()

    @first.handler("a", group="g")
    async def slow(number: int) -> None:
        begun.add(number)
        await go_on.wait()

    @second.handler("a", group="g", concurrency=5)
    async def quick(number: int, context: Context) -> None:
        handled.add((number, context.attempt))

    async with first.running() as crew:
        await first.publish_many("a", range(3))
        await begun.wait(1)
        async with second.running():
            away.fail("extend")
            await pass_time(clock, 35.0)
            assert sorted(await handled.wait(3)) == [(0, 2), (1, 2), (2, 1)]
            away.heal()
            await pass_time(clock, 15.0)
            go_on.set()
            (counters,) = crew.counters.values()
            await until(lambda: counters.lost == 2)
    assert begun == [0]
    assert (counters.acked, counters.released) == (0, 0)
    assert "lost the lease of 2 deliveries" in caplog.text


async def test_settled_meanwhile_is_not_lost(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    """A delivery that is settled while its extension is on its way is no lost lease."""
    clock = VirtualClock()
    bus, seen = Bus(trouble.url + "?lease=30", clock=clock), Seen()
    go_on, extending, extend = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slowly(_: object) -> None:
        extending.set()
        await extend.wait()

    @bus.handler("a", group="g")
    async def handler(number: int) -> None:
        seen.add(number)
        await go_on.wait()

    async with bus.running() as crew:
        trouble.before["extend"] = slowly
        await bus.publish("a", 1)
        await seen.wait(1)
        clock.advance(10.0)
        await extending.wait()
        go_on.set()
        (counters,) = crew.counters.values()
        await until(lambda: counters.acked)
        extend.set()
        await pass_time(clock, 30.0)
    assert counters.lost == 0
    assert "lost the lease" not in caplog.text
