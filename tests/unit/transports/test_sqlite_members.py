"""Members, groups and dead letters on sqlite://."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pabal.model.clock import VirtualClock
from pabal.model.dead import LetterFilter
from pabal.model.errors import (
    ConfigurationError,
)
from pabal.model.outcome import ACKED, Rejected, Retried
from pabal.model.transport import GroupId, Post, Source
from tests.unit.messagebox.boxes import (
    START,
    all_letters,
    bodies,
    message,
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


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


# Members.


async def test_a_listener_that_died_takes_nothing_more(path: Path, clock: VirtualClock) -> None:
    """Once a dead process's time is over it counts no more, and any other one clears it away, its copies with it."""
    async with opened(path, clock) as living:
        await living.subscribe(Source("z", "group"))
        with closing(sqlite3.connect(path)) as dead:
            dead.execute("INSERT INTO pabal_member VALUES (99, ?)", (START + 30,))
            dead.executescript(
                "INSERT INTO pabal_group VALUES (99, 'a.b', '~dead', 'shared', 'park');"
                "INSERT INTO pabal_listening (grp, member) VALUES (99, 99);"
                "UPDATE pabal_meta SET value = value + 1 WHERE name = 'routing'"
            )
        assert (await living.publish(posts(b"1")))[0].receivers == 1
        clock.advance(31)
        receipt = (await living.publish(posts(b"2")))[0]
        assert (receipt.routed, receipt.receivers) == (False, 0)
        assert [letter.message.body for letter in await all_letters(living)] == [b"2"]
        clock.advance(11)
        await living.publish(posts(b"3", channel="z"))
        assert rows(path, "SELECT id FROM pabal_member") == [(1,)]
        assert rows(path, "SELECT 1 FROM pabal_group WHERE id = 99") == []
        assert rows(path, "SELECT 1 FROM pabal_message WHERE grp = 99") == []


async def test_a_process_taken_for_dead_joins_again(
    path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Frozen until somebody declared it dead, a process gets its listeners and its groups back."""
    async with opened(path, clock) as transport:
        listener = await transport.subscribe(Source("a.b"))
        member = await transport.subscribe(Source("a.b", "group"))
        with closing(sqlite3.connect(path)) as other:
            other.executescript(
                "DELETE FROM pabal_member; DELETE FROM pabal_listening; DELETE FROM pabal_group;"
                "UPDATE pabal_meta SET value = value + 1 WHERE name = 'routing'"
            )
        clock.advance(11)
        await transport.publish([])
        assert (await transport.publish(posts(b"x")))[0].receivers == 2
        assert bodies(await take(listener, 1)) == bodies(await take(member, 1)) == [b"x"]
        assert rows(path, "SELECT id FROM pabal_member") == [(2,)]
        assert "it has joined again" in caplog.text


async def test_a_late_heartbeat_loses_nothing(path: Path, clock: VirtualClock) -> None:
    """A machine that slept past the lease goes on as the same member, and its listeners miss nothing."""
    async with opened(path, clock) as transport:
        listener = await transport.subscribe(Source("a.b"))
        await transport.publish(posts(b"before"))
        assert bodies(await take(listener, 1)) == [b"before"]
        clock.advance(3600)
        assert (await transport.publish(posts(b"after")))[0].receivers == 1
        assert b"after" in bodies(await take(listener, 1)) + bodies(await take(listener, 1))
        assert rows(path, "SELECT id FROM pabal_member") == [(1,)]


async def test_two_readers_of_one_group_are_one_listening(path: Path) -> None:
    """The group keeps its living member until the last of a process's readers has closed."""
    async with opened(path) as transport:
        first = await transport.subscribe(Source("a.b", "group"))
        second = await transport.subscribe(Source("a.b", "group"))
        await first.aclose()
        assert (await transport.groups())[0].members == 1
        with pytest.raises(ConfigurationError, match="has living members"):
            await transport.remove(GroupId("a.b", "group"))
        await second.aclose()
        assert (await transport.groups())[0].members == 0
        assert await transport.remove(GroupId("a.b", "group")) == 0


# Groups.


async def test_groups_tell_ready_waiting_and_leased(path: Path, clock: VirtualClock) -> None:
    """Delayed and retried messages wait, taken ones are leased, all others are ready; what is due is ready."""
    async with opened(path, clock) as transport:
        reader = await transport.subscribe(Source("a.b", "group", window=2))
        await transport.subscribe(Source("a.b"))
        await transport.publish(posts(b"1", b"2", b"3"))
        got = await take(reader, 1)
        await settle(reader, got, Retried(5.0))
        await reader._writer.tell(lambda box: box.withdraw(reader.reader))
        await transport.publish([Post(message(body=b"later"), due=START + 60)])
        (status,) = await transport.groups()
        assert (status.source, status.name, status.members) == ("a.b", "group", 1)
        assert status.ready + status.leased == 2
        assert status.waiting == 2
        assert status.oldest is not None
        assert status.oldest.timestamp() == START
        clock.advance(6)
        (status,) = await transport.groups()
        assert (status.ready + status.leased, status.waiting) == (3, 1)


async def test_a_removed_group_can_be_made_again_and_redriven_to(path: Path) -> None:
    """Its dead letters stay until the group is there again, and then reach it alone, in their order."""
    async with opened(path) as transport:
        reader = await transport.subscribe(Source("a.b", "group"))
        await reader.aclose()
        other = await transport.subscribe(Source("a.b", "other"))
        await transport.publish(posts(b"1", b"2"))
        await settle(other, await take(other, 2), ACKED)
        assert await transport.remove(GroupId("a.b", "group")) == 2
        letters = await all_letters(transport)
        assert {(letter.reason, letter.source, letter.group) for letter in letters} == {("removed", "a.b", "group")}
        gone = await transport.redrive([letter.id for letter in letters])
        assert [redriven.error for redriven in gone] == ["there is no group 'group' of 'a.b'"] * 2
        reader = await transport.subscribe(Source("a.b", "group"))
        await transport.publish(posts(b"3"))
        await settle(other, await take(other, 1), ACKED)
        await reader.aclose()
        await transport.redrive([letter.id for letter in reversed(letters)])
        reader = await transport.subscribe(Source("a.b", "group"))
        got = await take(reader, 3)
        assert [(each.message.body, each.redrive) for each in got] == [(b"1", 1), (b"2", 1), (b"3", 0)]
        assert (await transport.groups())[1].leased == 0
        assert await all_letters(transport) == []


# Dead letters.


async def test_letters_are_listed_page_by_page(path: Path) -> None:
    """More letters than one page, and than fits into memory at once, come oldest first; filters are kept."""
    async with opened(path) as transport:
        await transport.publish(posts(*(b"%d" % number for number in range(250))))
        await transport.publish(posts(*[b"x" * 3_000_000] * 3, channel="large"))
        letters = await all_letters(transport)
        assert [letter.message.body for letter in letters[:250]] == [b"%d" % number for number in range(250)]
        assert len(letters) == 253
        assert len(await all_letters(transport, LetterFilter(channel="large"))) == 3
        assert await all_letters(transport, LetterFilter(ids=["1", "no", "2", "", "9999"])) == letters[:2]
        assert await all_letters(transport, LetterFilter(reason="rejected")) == []
        assert await all_letters(transport, LetterFilter(group="group")) == []
        assert await transport.discard(["1", "no", "2", "2"]) == 2
        assert len(await all_letters(transport)) == 251


async def test_a_listeners_letter_goes_to_its_listeners(path: Path) -> None:
    """What a listener could not take is redriven to the living listeners of its source, and to no group."""
    async with opened(path) as transport:
        listener = await transport.subscribe(Source("a.*"))
        other = await transport.subscribe(Source("a.b"))
        group = await transport.subscribe(Source("a.b", "group"))
        await transport.publish(posts(b"1"))
        await settle(listener, await take(listener, 1), Rejected("overflow"))
        for reader in (other, group):
            await settle(reader, await take(reader, 1), ACKED)
        (letter,) = await all_letters(transport)
        assert (letter.reason, letter.source, letter.group) == ("overflow", "a.*", None)
        (redriven,) = await transport.redrive([letter.id])
        assert (redriven.receivers, redriven.error) == (1, None)
        (again,) = await take(listener, 1)
        assert (again.message.id, again.redrive) == (letter.message.id, 1)
        await settle(listener, [again], Rejected("overflow"))
        await listener.aclose()
        (letter,) = await all_letters(transport)
        (redriven,) = await transport.redrive([letter.id])
        assert (redriven.receivers, redriven.error) == (0, "no listener of 'a.*' is alive")
