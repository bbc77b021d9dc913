"""Leases, windows and buffers on sqlite://."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pabal.model.clock import VirtualClock
from pabal.model.errors import (
    ConfigurationError,
)
from pabal.model.outcome import ACKED, RELEASED, Rejected, Retried, Settlement
from pabal.model.transport import Source
from tests.unit.messagebox.boxes import (
    START,
    all_letters,
    bodies,
    opened,
    posts,
    settle,
    take,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box.db"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


async def test_an_expired_lease_goes_elsewhere_and_the_late_are_fenced(path: Path, clock: VirtualClock) -> None:
    """After the lease another transport has the message, counted; whatever the first says then is LOST."""
    async with opened(path, clock) as here, opened(path, clock) as there:
        first = await here.subscribe(Source("a.b", "group", window=1))
        await here.publish(posts(b"x"))
        (late,) = await take(first, 1)
        first.resize(1)
        clock.advance(20)
        assert await first.extend([late]) == []
        clock.advance(29)
        assert await first.extend([late]) == []
        await first._writer.tell(lambda box: box.withdraw(first.reader))
        clock.advance(31)
        second = await there.subscribe(Source("a.b", "group"))
        (ours,) = await take(second, 1)
        assert (ours.attempt, ours.errors) == (2, ())
        for outcome in (ACKED, RELEASED, Retried(0.0), Rejected("rejected")):
            assert await settle(first, [late], outcome) == [Settlement.LOST]
        assert await first.extend([late]) == [late]
        assert await settle(second, [ours], ACKED) == [Settlement.DONE]
        assert await all_letters(there) == []


async def test_a_mixed_settlement_tells_the_lost_from_the_done(path: Path, clock: VirtualClock) -> None:
    """One that is lost among many does not change what becomes of the others."""
    async with opened(path, clock) as transport:
        reader = await transport.subscribe(Source("a.b", "group"))
        await transport.publish(posts(*(b"%d" % number for number in range(10))))
        got = await take(reader, 10)
        assert await settle(reader, [got[4]], ACKED) == [Settlement.DONE]
        expected = [Settlement.LOST if number == 4 else Settlement.DONE for number in range(10)]
        assert await settle(reader, got, ACKED) == expected
        assert await reader.extend(got) == got


async def test_a_stale_buffer_is_not_handed_out(path: Path, clock: VirtualClock) -> None:
    """A process that was frozen past the lease does not hand out what it had buffered as its own."""
    async with opened(path, clock) as transport:
        reader = await transport.subscribe(Source("a.b", "group", window=2))
        await transport.publish(posts(b"1", b"2"))
        assert len(reader._buffer) == 2
        assert reader._timer is not None
        reader._timer.cancel()
        clock.advance(31)
        got = await take(reader, 2)
        assert [delivery.attempt for delivery in got] == [2, 2]
        assert await settle(reader, got, ACKED) == [Settlement.DONE] * 2


async def test_closing_gives_back_buffered_and_received_uncounted(path: Path) -> None:
    """What a subscription had in its buffer and what was received from it come again as if never taken."""
    async with opened(path) as transport:
        reader = await transport.subscribe(Source("a.b", "group", window=4))
        await transport.publish(posts(b"1", b"2", b"3", b"4", b"5", b"6"))
        got = await take(reader, 2)
        await reader.aclose()
        await reader.aclose()
        assert await settle(reader, got, ACKED) == [Settlement.LOST] * 2
        (status,) = await transport.groups()
        assert (status.ready, status.leased, status.members) == (6, 0, 0)
        reader = await transport.subscribe(Source("a.b", "group"))
        again = await take(reader, 6)
        assert bodies(again) == [b"1", b"2", b"3", b"4", b"5", b"6"]
        assert {delivery.attempt for delivery in again} == {1}


async def test_resizing_gives_back_the_surplus(path: Path) -> None:
    """A smaller window gives back at once what it no longer holds, the newest first."""
    async with opened(path) as transport:
        reader = await transport.subscribe(Source("a.b", "group", window=10))
        await transport.publish(posts(*(b"%d" % number for number in range(10))))
        assert len(reader._buffer) == 10
        reader.resize(3)
        with pytest.raises(ConfigurationError):
            reader.resize(-1)
        await reader._writer.write(lambda _: None)
        (status,) = await transport.groups()
        assert (status.ready, status.leased) == (7, 3)
        assert bodies(await take(reader, 3)) == [b"0", b"1", b"2"]


async def test_a_window_of_nothing_takes_nothing(path: Path) -> None:
    """Registered with a window of 0 a reader leaves all to others, until it is resized for a pull."""
    async with opened(path) as transport:
        puller = await transport.subscribe(Source("a.b", "group", window=0))
        await transport.publish(posts(b"1", b"2", b"3"))
        assert (await transport.groups())[0].ready == 3
        receiving = asyncio.create_task(take(puller, 2))
        puller.resize(2)
        got = await receiving
        puller.resize(0)
        await puller._writer.write(lambda _: None)
        assert bodies(got) == [b"1", b"2"]
        (status,) = await transport.groups()
        assert (status.ready, status.leased) == (1, 2)
        await settle(puller, got, ACKED)


async def test_a_backlog_is_read_in_the_order_of_publishing(path: Path) -> None:
    """Every row of a full window is taken (row values in IN took one of a hundred), in order."""
    async with opened(path) as transport:
        reader = await transport.subscribe(Source("a.b", "group", window=100))
        await reader.aclose()
        await transport.publish(posts(*(b"%d" % number for number in range(350))))
        reader = await transport.subscribe(Source("a.b", "group", window=100))
        assert bodies(await take(reader, 350)) == [b"%d" % number for number in range(350)]
