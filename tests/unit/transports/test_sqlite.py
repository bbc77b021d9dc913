"""What sqlite:// promises beyond the conformance kit: its URL, its leases, its members, its dead letters."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pabal.model.address import Address
from pabal.model.clock import SystemClock, VirtualClock
from pabal.model.dead import LetterFilter
from pabal.model.errors import (
    CapabilityError,
    ConfigurationError,
    ConnectionFailed,
    MessageTooLarge,
)
from pabal.model.message import Message
from pabal.model.outcome import ACKED, RELEASED, Rejected, Retried, Settlement
from pabal.model.transport import GroupId, Post, Source
from pabal.transports.sql import SqliteTransport
from tests.unit.messagebox.boxes import (
    START,
    all_letters,
    bodies,
    message,
    opened,
    posts,
    settle,
    take,
    transport_to,
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


# The URL.


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "name a file"),
        ("sqlite:///", "name a file"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///folder/", "name a file"),
        ("sqlite://todo.db", "three slashes"),
        ("sqlite://me@/todo.db", "three slashes"),
        ("sqlite:///todo.db?lease=0", "lease is more than 0 seconds"),
        ("sqlite:///todo.db?max_body=0", "max_body 1 to"),
        ("sqlite:///todo.db?synchronous=off", "synchronous is full or normal"),
        ("sqlite:///todo.db?journal=wal", "its options are: lease, max_body, synchronous"),
    ],
)
def test_a_bad_url_says_what_is_wrong(url: str, said: str) -> None:
    """A URL that cannot be a box is refused before anything is opened."""
    with pytest.raises(ConfigurationError, match=said):
        SqliteTransport(Address(url), clock=SystemClock())


async def test_a_relative_file_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is of the folder that was current when the transport was made."""
    (tmp_path / "later").mkdir()
    monkeypatch.chdir(tmp_path)
    transport = SqliteTransport(Address("sqlite:///todo%20list.db"), clock=SystemClock())
    monkeypatch.chdir(tmp_path / "later")
    await transport.open()
    await transport.aclose()
    assert (tmp_path / "todo list.db").exists()


async def test_an_open_that_failed_can_be_tried_again(tmp_path: Path) -> None:
    """Once what was wrong is mended, the same transport opens."""
    transport = transport_to(tmp_path / "later" / "box.db")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="does not exist"):
            await transport.open()
    with pytest.raises(ConnectionFailed, match="not open"):
        await transport.publish(posts(b"early"))
    (tmp_path / "later").mkdir()
    await transport.open()
    assert (await transport.publish(posts(b"now")))[0].error is None
    await transport.aclose()


async def test_closing_leaves_one_file_and_its_turn(path: Path) -> None:
    """The last one to close takes the write-ahead log into the file, so that the file alone can be copied."""
    async with opened(path) as first, opened(path):
        await first.publish(posts(b"x"))
    assert sorted(file.name for file in path.parent.iterdir()) == ["box.db", "box.db-turn"]


async def test_closing_twice_at_once_and_before_opening_is_fine(path: Path) -> None:
    """Aclose may be called at any time, by several at once; afterwards every use says that it is closed."""
    await transport_to(path).aclose()
    transport = transport_to(path)
    await transport.open()
    await transport.open()
    reader = await transport.subscribe(Source("a.b", "group"))
    await asyncio.gather(transport.aclose(), transport.aclose(), reader.aclose())
    for use in (transport.open(), transport.publish(posts(b"x")), transport.groups(), reader.receive(1)):
        with pytest.raises(ConnectionFailed, match="closed"):
            await use


# What cannot be done.


async def test_what_a_box_cannot_do_is_refused(path: Path) -> None:
    """Order and replay are refused; bad names and windows too."""
    async with opened(path) as transport:
        with pytest.raises(CapabilityError, match="ordered=True"):
            await transport.subscribe(Source("a.b", "group", ordered=True))
        with pytest.raises(CapabilityError, match="start="):
            await transport.subscribe(Source("a.b", "group", start="oldest"))
        for source in (Source("a..b", "group"), Source("a.b", "~mine"), Source("a.b", "group", window=-1)):
            with pytest.raises(ConfigurationError):
                await transport.subscribe(source)


async def test_failures_of_single_messages_are_in_their_receipts(path: Path) -> None:
    """A body too large, a pattern to publish to and an unknown group fail alone; the others are taken."""
    async with opened(path, options="?max_body=3") as transport:
        reader = await transport.subscribe(Source("a.b", "group"))
        receipts = await transport.publish(
            [
                *posts(b"1", b"22"),
                *posts(b"4444"),
                *posts(b"5", channel="a.*"),
                Post(message(body=b"6"), group=GroupId("a.b", "nobody")),
                Post(message(body=b"7"), group=GroupId("a.b", "group")),
            ]
        )
        assert [type(receipt.error) for receipt in receipts] == [
            type(None),
            type(None),
            MessageTooLarge,
            ConfigurationError,
            ConfigurationError,
            type(None),
        ]
        assert bodies(await take(reader, 3)) == [b"1", b"22", b"7"]
        assert await all_letters(transport) == []


# Routing.


async def test_a_subscription_elsewhere_is_never_missed(path: Path) -> None:
    """Another transport's cached routing does not miss a group that was there when its publish began."""
    async with opened(path) as here, opened(path) as there:
        for number in range(50):
            assert (await here.publish(posts(b"x", channel="a.b")))[0].receivers == number
            await there.subscribe(Source("a.*", f"group{number}", window=1))


async def test_one_transaction_of_subscriptions_and_publishes_is_honest(path: Path) -> None:
    """Jobs that share a transaction see each other in their order."""
    async with opened(path) as transport:
        _, first, _, second = await asyncio.gather(
            transport.subscribe(Source("a.b", "one")),
            transport.publish(posts(b"1")),
            transport.subscribe(Source("a.>", "two")),
            transport.publish(posts(b"2")),
        )
        assert (first[0].receivers, second[0].receivers) == (1, 2)


async def test_a_cancelled_subscribe_leaves_no_listener(path: Path) -> None:
    """Cancelled, a registration is taken back: nothing piles up for a listener that nobody has."""
    async with opened(path) as transport:
        await transport.subscribe(Source("z", "other"))
        subscribing = asyncio.create_task(transport.subscribe(Source("a.b")))
        await asyncio.sleep(0)
        subscribing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await subscribing
        for subscription in tuple(transport._subscriptions):
            if subscription.reader.group is None:
                await subscription.aclose()
        assert (await transport.publish(posts(b"x")))[0].routed is False


# Leases.


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


# Members.


async def test_a_listener_that_died_takes_nothing_more(path: Path, clock: VirtualClock) -> None:
    """Once a dead process's time is over it counts no more, and any other one clears it away, its copies with it."""
    async with opened(path, clock) as living:
        await living.subscribe(Source("z", "group"))
        with closing(sqlite3.connect(path)) as dead:
            dead.execute("INSERT INTO pabal_member VALUES (99, ?)", (START + 30,))
            dead.executescript(
                "INSERT INTO pabal_group VALUES (99, 'a.b', '~dead', 'shared', 'park');"
                "INSERT INTO pabal_listening VALUES (99, 99);"
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


# Requests.


async def test_only_who_has_the_address_can_answer_to_it(path: Path) -> None:
    """The way back is of its own for each transport and cannot be guessed; nobody there is no error."""
    async with opened(path) as here, opened(path) as there:
        got: asyncio.Queue[tuple[str, Message | None]] = asyncio.Queue()
        address = await here.replies(lambda reply_to, answer: got.put_nowait((reply_to, answer)))
        assert await there.replies(lambda _reply_to, _answer: None) != address
        with pytest.raises(ConfigurationError, match="open already"):
            await here.replies(lambda _reply_to, _answer: None)
        answer = message(f"{address}.7", b"42")
        await there.reply(answer)
        assert await got.get() == (f"{address}.7", answer)
        await there.reply(message("pabal-reply.unknown.7"))
        assert await all_letters(there) == []
        with pytest.raises(MessageTooLarge):
            await there.reply(message(f"{address}.7", b"x" * 20_000_000))


async def test_findings_tell_what_is_weak(path: Path) -> None:
    """A doctor sees how durable publishes are, the schema, and whether the file is whole."""
    async with opened(path, options="?synchronous=normal") as transport:
        await transport.publish(posts(b"x"))
        findings = await transport.findings()
        assert [finding.text.split(":")[0] for finding in findings if finding.level == "weak"] == ["synchronous=normal"]
        assert {"quick_check found nothing wrong", "schema 1 of 1"} <= {finding.text for finding in findings}
