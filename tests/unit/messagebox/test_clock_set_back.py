"""The machine's clock is set back while members of groups on sqlite:// have messages in hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pabal.model.clock import VirtualClock
from pabal.model.outcome import ACKED, Settlement
from pabal.model.transport import Source
from tests.unit.messagebox.boxes import START, bodies, opened, posts, settle, take
from tests.unit.messagebox.test_owned import frozen, line, live, member, until

HOUR = 3600.0


class Settable(VirtualClock):
    """A clock that somebody sets back."""

    def set_back(self, seconds: float) -> None:
        self._now -= seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box.db"


@pytest.fixture
def clock() -> Settable:
    return Settable(START)


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_dead_are_taken_over_all_the_same(path: Path, clock: Settable, ordered: bool) -> None:
    """What a dead member had comes to others within the usual time, not when the clock is where it was."""
    source = Source("a.b", "group", ordered=ordered, window=1)
    async with opened(path, clock) as one, opened(path, clock) as two:
        first = await one.subscribe(source)
        await one.publish(line("a", 1))
        await take(first, 1)
        second = await two.subscribe(source)
        async with frozen(one):
            clock.set_back(HOUR)
            taking = asyncio.create_task(take(second, 1))
            for _ in range(18):
                await live(clock, 5, two)
            (again,) = await taking
            assert (again.message.body, again.attempt) == (b"a0", 2)
            (status,) = await two.groups()
            assert status.members == 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_living_keep_what_they_have(path: Path, clock: Settable, ordered: bool) -> None:
    """Members that live go on with what they have in hand, and nobody else gets it."""
    source = Source("a.b", "group", ordered=ordered, window=2)
    async with opened(path, clock) as one, opened(path, clock) as two:
        first, second = await one.subscribe(source), await two.subscribe(source)
        second.resize(0)
        if ordered:
            await until(lambda: len(first.reader.stock.parts) == 64, one, two)  # type: ignore[attr-defined]
        await one.publish([*line("a", 1), *line("b", 1)])
        held = await take(first, 2)
        second.resize(2)
        clock.set_back(HOUR)
        for _ in range(20):
            await live(clock, 5, two, one)
            assert await first.extend(held) == []
        assert await settle(first, held, ACKED) == [Settlement.DONE, Settlement.DONE]
        assert not second._buffer
        await one.publish(posts(b"next"))
        await until(lambda: len(first._buffer) + len(second._buffer) == 1, one, two)


async def test_what_was_received_and_given_up_comes_again(path: Path, clock: Settable) -> None:
    """Of an ordered group, what a living member neglects comes again after a lease of the new time."""
    async with opened(path, clock) as transport:
        reader = await member(transport)
        await transport.publish(line("a", 1))
        await take(reader, 1)
        clock.set_back(HOUR)
        await live(clock, 60, transport)
        assert bodies(await take(reader, 1)) == [b"a0"]
