"""Ordered groups on sqlite://: nothing overtakes what becomes ready again, whenever that happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pabal.model.clock import VirtualClock
from pabal.model.outcome import ACKED, RELEASED, Outcome, Rejected, Retried
from pabal.model.transport import Post
from tests.unit.messagebox.boxes import START, all_letters, message, opened, settle, take
from tests.unit.messagebox.test_owned import each, frozen, line, member, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box.db"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.mark.parametrize("between", [18, 19, 20])
async def test_what_wakes_while_a_member_reads_on_is_not_overtaken(
    path: Path, clock: VirtualClock, between: int
) -> None:
    """A retry that is due when its owner reads the next messages of a backlog goes before what follows of its key."""
    async with opened(path, clock) as transport:
        reader = await member(transport, window=1)  # ten rows at once: the follower is the first of the next ten, or so
        others = [Post(message(body=b"x", key=f"x{number}")) for number in range(between + 10)]
        await transport.publish([*line("a", 1), *others[:between], *line("a", 1, 1), *others[between:]])
        await settle(reader, await take(reader, 1), Retried(5.0))
        await each(reader, between - 1)
        await until(lambda: bool(reader._buffer), transport)
        async with frozen(transport):  # so that it wakes the retry and reads on in one go
            last = await take(reader, 1)
            settling = asyncio.create_task(settle(reader, last, ACKED))
            await asyncio.sleep(0)
            clock.advance(5)
        await settling
        assert [body for body in await each(reader, 12) if body != b"x"] == [b"a0", b"a1"]


@pytest.mark.parametrize("outcome", [ACKED, RELEASED, Retried(0.0), Retried(5.0)], ids=repr)
@pytest.mark.parametrize("window", [1, 2])
async def test_the_end_of_a_long_line_stays_the_end_at_another_member(
    path: Path, clock: VirtualClock, window: int, outcome: Outcome
) -> None:
    """Where a long line stepped aside behind a slow message and then changes hands, it comes in order all the same."""
    async with opened(path, clock) as one, opened(path, clock) as two:
        first = await member(one, window=2)
        await one.publish([*line("a", 60), *line("b", 2)])
        slow = await take(first, 1)
        clock.advance(0.3)
        assert await each(first, 2) == [b"b0", b"b1"]
        await settle(first, slow, outcome)
        await first.aclose()
        clock.advance(5)
        second = await member(two, window=window)
        left = 60 - (outcome == ACKED)
        assert await each(second, left) == [b"a%d" % number for number in range(60 - left, 60)]


async def test_what_is_given_back_stays_behind_what_was_redriven_meanwhile(path: Path) -> None:
    """A redriven message goes to its old place also before one that its owner had in hand and gives back."""
    async with opened(path) as transport:
        reader = await member(transport, on_dead="continue")
        await transport.publish(line("a", 4))
        await settle(reader, await take(reader, 1), Rejected("rejected"))
        second = await take(reader, 1)
        (letter,) = await all_letters(transport)
        await transport.redrive([letter.id])
        await transport.publish(line("b", 1))
        assert await each(reader, 1) == [b"b0"]  # it has read what was redriven
        await settle(reader, second, RELEASED)
        assert await each(reader, 4) == [b"a0", b"a1", b"a2", b"a3"]
