import asyncio
from datetime import UTC, datetime

import pytest

from pabal.model.clock import Clock, SystemClock, Timer, VirtualClock, utc


async def asleep() -> None:
    """Let every task run up to where it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_virtual_clock_stands_still() -> None:
    """Time moves by advance alone."""
    clock = VirtualClock(100.0)
    await asleep()
    assert clock.time() == 100.0
    clock.advance(2.5)
    assert clock.time() == 102.5


async def test_calls_come_in_the_order_of_their_times() -> None:
    """Whatever order they were made in; those of one time in the order they were made in."""
    clock, called = VirtualClock(0.0), list[tuple[str, float]]()
    for name, when in (("late", 3.0), ("first", 1.0), ("second", 1.0), ("after", 9.0)):
        clock.call_at(when, lambda name=name: called.append((name, clock.time())))  # type: ignore[misc]
    clock.advance(5.0)
    assert called == [("first", 1.0), ("second", 1.0), ("late", 3.0)]
    assert clock.time() == 5.0


async def test_a_call_made_by_a_call_runs_in_the_same_turn() -> None:
    """A chain of retries within one advance behaves as in real time."""
    clock, times = VirtualClock(0.0), list[float]()

    def again() -> None:
        times.append(clock.time())
        if clock.time() < 3.0:
            clock.call_at(clock.time() + 1.0, again)

    clock.call_at(1.0, again)
    clock.advance(10.0)
    assert times == [1.0, 2.0, 3.0]


async def test_a_cancelled_call_never_comes() -> None:
    """Nor does cancelling twice, or after it ran, do any harm."""
    clock, called = VirtualClock(0.0), list[str]()
    cancelled = clock.call_at(1.0, lambda: called.append("cancelled"))
    kept = clock.call_at(1.0, lambda: called.append("kept"))
    cancelled.cancel()
    cancelled.cancel()
    clock.advance(1.0)
    kept.cancel()
    assert called == ["kept"]


async def test_one_call_may_cancel_another_of_its_time() -> None:
    """A timeout and the answer to it fall due together: the first one wins."""
    clock, called = VirtualClock(0.0), list[str]()
    timers: list[Timer] = []

    def first() -> None:
        timers[0].cancel()

    clock.call_at(1.0, first)
    timers.append(clock.call_at(1.0, lambda: called.append("second")))
    clock.advance(1.0)
    assert called == []


async def test_a_call_in_the_past_comes_from_the_loop() -> None:
    """At once, but not inside call_at itself, as with an event loop."""
    clock, called = VirtualClock(10.0), list[str]()
    clock.call_at(10.0, lambda: called.append("now"))
    clock.call_at(3.0, lambda: called.append("past"))
    assert called == []
    await asleep()
    assert called == ["past", "now"]


async def test_a_call_that_fails_loses_no_other() -> None:
    """The failure is seen, and what was due after it still comes."""
    clock, called = VirtualClock(0.0), list[str]()

    def fail() -> None:
        raise IndexError("a mistake of the callback's")

    clock.call_at(1.0, fail)
    clock.call_at(1.0, lambda: called.append("second"))
    with pytest.raises(IndexError, match="a mistake"):
        clock.advance(1.0)
    clock.advance(1.0)
    assert called == ["second"]


async def test_sleep_ends_when_its_time_has_come() -> None:
    """Sleepers wake in the order of their times."""
    clock, woken = VirtualClock(0.0), list[float]()

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (3.0, 1.0, 2.0):
            group.create_task(sleeper(seconds))
        await asleep()
        clock.advance(0.5)
        await asleep()
        assert woken == []
        clock.advance(1.5)
        await asleep()
        assert woken == [1.0, 2.0]
        clock.advance(1.0)
    assert woken == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("clock", [VirtualClock(), SystemClock()], ids=lambda clock: type(clock).__name__)
async def test_sleeping_for_nothing_returns(clock: Clock) -> None:
    """No time, and time that is past, is waited for as long as it takes: not at all."""
    async with asyncio.timeout(10):
        await clock.sleep(0.0)
        await clock.sleep(-1.0)


async def test_a_cancelled_sleep_leaves_nothing_behind() -> None:
    """The clock may be turned past it."""
    clock = VirtualClock(0.0)
    task = asyncio.create_task(clock.sleep(1.0))
    await asleep()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    clock.advance(5.0)


async def test_the_system_clock_calls() -> None:
    """At the time asked for, and never when it was called off."""
    clock, came = SystemClock(), asyncio.Event()
    late = clock.call_at(clock.time(), lambda: pytest.fail("cancelled"))
    late.cancel()
    before = clock.time()
    clock.call_at(before + 0.02, came.set)
    async with asyncio.timeout(10):
        await came.wait()
    assert clock.time() >= before + 0.019


def test_seconds_as_a_time() -> None:
    """Times are aware and UTC."""
    assert utc(1_700_000_000.5) == datetime(2023, 11, 14, 22, 13, 20, 500_000, UTC)
    assert utc(0.0).tzinfo is UTC


async def test_turning_to_what_is_due_next() -> None:
    """The next due time leaves out what was called off, and turning never goes back."""
    clock, ran = VirtualClock(1000.0), list[float]()
    assert clock.next_due is None
    off = clock.call_at(1001.0, lambda: ran.append(clock.time()))
    clock.call_at(1002.5, lambda: ran.append(clock.time()))
    off.cancel()
    assert clock.next_due == 1002.5
    clock.advance_to(1002.5)
    clock.advance_to(1001.0)
    assert (ran, clock.time(), clock.next_due) == ([1002.5], 1002.5, None)
