"""How many messages may wait for a listener on sqlite:///, whoever publishes, and however many at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pabal.messagebox.sqlite import redrive as redriving
from pabal.model.clock import VirtualClock
from pabal.model.dead import LetterFilter
from pabal.model.outcome import ACKED
from pabal.model.transport import Post, Receipt, Source
from tests.unit.messagebox.boxes import all_letters, message, opened, posts, settle, take

OVERFLOW = "?overflow=10"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box.db"


def receivers(receipts: Sequence[Receipt]) -> int:
    return sum(receipt.receivers or 0 for receipt in receipts)


def waiting(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM pabal_message").fetchone()
    return int(count)


async def test_the_limit_is_exact_for_many_at_once(path: Path) -> None:
    """One publish of many and many publishes in one transaction fill a listener up to its limit, and not beyond."""
    async with opened(path, options=OVERFLOW) as transport:
        await transport.subscribe(Source("a.b", window=0))
        assert 7 == receivers(await transport.publish(posts(*[b"x"] * 7)))
        both = await asyncio.gather(*(transport.publish(posts(*[b"x"] * 4)) for _ in range(5)))
        assert 3 == sum(map(receivers, both))
        assert 10 == waiting(path)
        assert 17 == len(await all_letters(transport, LetterFilter(reason="overflow")))


async def test_the_limit_holds_across_processes(path: Path) -> None:
    """What another process published and took is counted too: the box is looked at again after each of its commits."""
    async with opened(path, options=OVERFLOW) as here, opened(path, options=OVERFLOW) as there:
        listener = await there.subscribe(Source("a.b", window=0))
        for transport in (here, there, here, there):
            assert 2 == receivers(await transport.publish(posts(b"x", b"x")))
        assert 1 == receivers(await here.publish(posts(b"x")))
        assert [1, 0] == [receipt.receivers for receipt in await there.publish(posts(b"x", b"x"))]
        assert 0 == receivers(await here.publish(posts(b"x")))
        listener.resize(4)
        await settle(listener, await take(listener, 4), ACKED)
        listener.resize(0)
        assert 4 == receivers(await here.publish(posts(*[b"x"] * 6)))


async def test_each_listener_has_its_own(path: Path) -> None:
    """One that is full misses what the others get; what is delayed counts, and groups have no limit."""
    async with opened(path, options=OVERFLOW) as transport:
        await transport.subscribe(Source("a.b", window=0))
        await transport.publish([Post(message(), due=2e9) for _ in range(10)])
        await transport.subscribe(Source("a.>", window=0))
        await transport.subscribe(Source("a.b", "group", window=0))
        receipts = await transport.publish(posts(*[b"x"] * 12))
        assert [2] * 10 + [1] * 2 == [receipt.receivers for receipt in receipts]
        letters = await all_letters(transport)
        assert {"a.b": 12, "a.>": 2} == {
            source: sum(letter.source == source for letter in letters) for source in ("a.b", "a.>")
        }


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["here", "there", "take"]), st.integers(1, 8)), max_size=25))
def test_the_limit_is_never_passed_and_never_short(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever two processes publish and one takes: what fits is taken, what does not is a dead letter."""

    async def run(path: Path) -> None:
        async with opened(path, options=OVERFLOW) as here, opened(path, options=OVERFLOW) as there:
            listener = await here.subscribe(Source("a.b", window=0))
            left, parked = 0, 0
            for step, count in steps:
                if step == "take":
                    number = min(count, left)
                    if number:
                        listener.resize(number)
                        await settle(listener, await take(listener, number), ACKED)
                        listener.resize(0)
                    left -= number
                    continue
                fits = min(count, 10 - left)
                transport = here if step == "here" else there
                assert fits == receivers(await transport.publish(posts(*[b"x"] * count)))
                left, parked = left + fits, parked + count - fits
            assert parked == len(await all_letters(here))

    asyncio.run(run(tmp_path_factory.mktemp("room") / "box.db"))


async def test_redriven_letters_are_forgotten_from_the_oldest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are to be kept stay, those that were redriven last."""
    monkeypatch.setattr(redriving, "MOST_REDRIVEN", 5)
    clock = VirtualClock()
    async with opened(path, clock) as transport:
        await transport.publish(posts(*b"1 2 3 4 5 6 7 8".split()))
        letters = await all_letters(transport)
        await transport.subscribe(Source("a.b", "group", window=0))
        ids = [letter.id for letter in letters]
        await transport.redrive(ids[4:])
        clock.advance(1)
        await transport.redrive(ids[:2])
        kept = await all_letters(transport, LetterFilter(redriven=True))
        assert {*ids[:2], *ids[5:]} == {letter.id for letter in kept}
        assert ids[2:4] == [letter.id for letter in await all_letters(transport)]
        (result,) = await transport.redrive(ids[4:5])
        assert "there is no such dead letter" == result.error


async def test_a_letter_is_found_without_reading_all(path: Path) -> None:
    """By its id and by its message the table's keys are used: a box with many letters answers at once."""
    from pabal.messagebox.sqlite import letters as module

    async with opened(path) as transport:
        await transport.publish(posts(b"x"))
        (letter,) = await all_letters(transport)
    plans = []
    with closing(sqlite3.connect(path)) as connection:
        for wanted in (LetterFilter(ids=[letter.id]), LetterFilter(message_id=letter.message.id)):
            asked: list[str] = []
            connection.set_trace_callback(asked.append)
            assert 1 == len(module.page(connection, wanted, 0))
            connection.set_trace_callback(None)
            plans += [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert [] == [plan for plan in plans if plan.startswith("SCAN") and "json_each" not in plan]
