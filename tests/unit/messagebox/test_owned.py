"""Ordered groups on sqlite://: who owns which part, what is lost and what comes again, and what stands behind."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from pabal.messagebox.migrations import migrations
from pabal.messagebox.routing import Routing
from pabal.messagebox.sqlite import keys
from pabal.messagebox.sqlite.owned import OwnedReader
from pabal.model.clock import SystemClock, VirtualClock
from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.model.outcome import ACKED, RELEASED, Rejected, Retried, Settlement
from pabal.model.transport import GroupId, OnDead, Post, Settled, Source
from pabal.transports.sql import SqliteTransport
from pabal.transports.sql.subscription import SqliteSubscription
from tests.unit.messagebox.boxes import START, all_letters, bodies, message, opened, posts, settle, take

GROUP = GroupId("a.b", "group")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box.db"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


def line(key: str, count: int, first: int = 0) -> list[Post]:
    return [Post(message(body=b"%s%d" % (key.encode(), number), key=key)) for number in range(first, first + count)]


async def member(transport: SqliteTransport, window: int = 100, on_dead: OnDead = "park") -> SqliteSubscription:
    return await transport.subscribe(Source("a.b", "group", ordered=True, window=window, on_dead=on_dead))


def reader_of(subscription: SqliteSubscription) -> OwnedReader:
    assert isinstance(subscription.reader, OwnedReader)
    return subscription.reader


def owned(subscription: SqliteSubscription) -> int:
    return sum(not part.closed for part in reader_of(subscription).stock.parts.values())


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def until(holds: Callable[[], bool], *transports: SqliteTransport) -> None:
    """Let the threads go round until it holds."""
    async with asyncio.timeout(10):
        while not holds():
            for transport in transports:
                await transport._writer.write(lambda _: None)


async def live(clock: VirtualClock, seconds: float, *transports: SqliteTransport) -> None:
    """Time passes; the threads of these have the time to beat."""
    for _ in range(round(seconds / 5)):
        clock.advance(5.0)
        for transport in transports:
            await transport._writer.write(lambda _: None)


@asynccontextmanager
async def frozen(transport: SqliteTransport) -> AsyncIterator[None]:
    """The thread of a transport stands still, as that of a stopped process does."""
    thaw, stands = threading.Event(), threading.Event()

    def freeze(_: object) -> None:
        stands.set()
        thaw.wait()

    transport._writer.note(freeze)
    await asyncio.to_thread(stands.wait)
    try:
        yield
    finally:
        thaw.set()


async def each(subscription: SqliteSubscription, count: int) -> list[bytes]:
    """The bodies of what comes, one after the other, each acked."""
    handled: list[bytes] = []
    while len(handled) < count:
        got = await take(subscription, 1)
        assert await settle(subscription, got, ACKED) == [Settlement.DONE]
        handled += bodies(got)
    return handled


# Who owns what.


async def test_members_have_fair_shares_and_a_joining_one_gets_its_own_at_once(path: Path) -> None:
    """Parts are shared out evenly as members come and go, without waiting for a heartbeat: the clock stands still."""
    async with AsyncExitStack() as stack:
        transports = [await stack.enter_async_context(opened(path)) for _ in range(3)]
        members = [await member(transports[0])]
        await until(lambda: [owned(each) for each in members] == [64], *transports)
        members.append(await member(transports[1]))
        await until(lambda: [owned(each) for each in members] == [32, 32], *transports)
        members.append(await member(transports[2]))
        await until(lambda: sorted(owned(each) for each in members) == [20, 22, 22], *transports)
        await members[1].aclose()
        await until(lambda: [owned(members[0]), owned(members[2])] == [32, 32], *transports)
        assert len({member for (member,) in rows(path, "SELECT member FROM pabal_slot")}) == 2


async def test_two_readers_of_one_process_are_two_members(path: Path) -> None:
    """Subscribed twice in one transport, a group is shared out between the two, and each key stays in order."""
    async with opened(path) as transport:
        members = [await member(transport), await member(transport)]
        await until(lambda: [owned(each) for each in members] == [32, 32], transport)
        assert (await transport.groups())[0].members == 2
        await transport.publish([post for key in "abcdefgh" for post in line(key, 1)])
        await until(lambda: sum(len(each._buffer) for each in members) == 8, transport)
        await members[0].aclose()
        assert (await transport.groups())[0].members == 1
        assert len(await take(members[1], 8)) == 8


async def test_a_part_with_something_in_hand_waits_for_it(path: Path) -> None:
    """Who has too many parts gives up those with nothing in hand, and the others once they are settled."""
    async with opened(path) as one, opened(path) as two:
        first = await member(one)
        await one.publish(posts(*[b"x"] * 500))
        got = await take(first, 500)
        second = await member(two)
        await until(lambda: owned(first) == 32 and owned(second) == 0, one, two)
        assert await first.extend(got) == []
        await settle(first, got, ACKED)
        await until(lambda: owned(second) == 32, one, two)


async def test_a_window_of_nothing_leaves_its_share_to_the_others(path: Path) -> None:
    """A member resized to 0 gives up its parts to those who take, and claims its share when it takes again."""
    async with opened(path) as one, opened(path) as two:
        first, second = await member(one), await member(two)
        await until(lambda: [owned(first), owned(second)] == [32, 32], one, two)
        second.resize(0)
        await until(lambda: [owned(first), owned(second)] == [64, 0], one, two)
        first.resize(0)
        await one._writer.write(lambda _: None)
        await two._writer.write(lambda _: None)
        assert [owned(first), owned(second)] == [64, 0]
        second.resize(5)
        await until(lambda: [owned(first), owned(second)] == [0, 64], one, two)


async def test_an_ordered_listener_has_its_own_copies(path: Path) -> None:
    """A listener may ask for order, too: its private group is its own and goes with it."""
    async with opened(path) as transport:
        listener = await transport.subscribe(Source("a.b", ordered=True))
        await transport.publish(line("a", 3))
        assert await each(listener, 2) == [b"a0", b"a1"]
        (last,) = await take(listener, 1)
        await settle(listener, [last], Rejected("rejected"))
        await transport.publish(line("a", 1, 3))
        assert await each(listener, 1) == [b"a3"]
        await listener.aclose()
        assert (await transport.publish(line("a", 1)))[0].receivers == 0


# Taken over.


async def test_a_frozen_members_parts_go_to_others_and_its_settlements_are_lost(
    path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever freezes past the lease finds all lost and joins again; what it had in hand comes first, counted."""
    async with opened(path, clock) as one, opened(path, clock) as two:
        first = await member(one)
        await one.publish(line("a", 3))
        held = await take(first, 1)
        second = await member(two)
        await until(lambda: owned(second) == 32 or owned(first) == 32, one, two)
        async with frozen(one):
            await live(clock, 60, two)
            await until(lambda: owned(second) == 64, two)
            (again,) = await take(second, 1)
            assert (again.message.body, again.attempt, again.errors) == (b"a0", 2, ())
        assert list(await first.extend(held)) == held
        for outcome in (ACKED, RELEASED, Retried(0.0), Rejected("rejected")):
            assert await settle(first, held, outcome) == [Settlement.LOST]
        assert "it has joined again" in caplog.text
        await until(lambda: owned(first) == 32, one, two)
        assert await settle(second, [again], ACKED) == [Settlement.DONE]
        assert await all_letters(one) == []


async def test_nothing_is_handed_out_while_it_is_not_certain(path: Path, clock: VirtualClock) -> None:
    """What was buffered when a process froze past its lease is not handed to its handlers when it goes on."""
    async with opened(path, clock) as one, opened(path, clock) as two:
        first = await member(one)
        await one.publish(line("a", 1))
        await until(lambda: len(first._buffer) == 1, one)
        async with frozen(one):
            assert first._timer is not None
            first._timer.cancel()
            second = await member(two)
            await live(clock, 60, two)
            (ours,) = await take(second, 1)
            assert first._pop(1) == []
        await settle(second, [ours], ACKED)
        await one.publish(line("b", 1))
        members = [asyncio.create_task(take(each, 1)) for each in (first, second)]
        done, waiting = await asyncio.wait(members, return_when=asyncio.FIRST_COMPLETED)
        assert [bodies(each.result()) for each in done] == [[b"b0"]]
        for each in waiting:
            each.cancel()


async def test_after_a_crash_the_first_go_one_by_one_and_are_counted(path: Path, clock: VirtualClock) -> None:
    """Who takes over from the dead hands out the first window of a part one by one, each counted beforehand."""
    same_part = [Post(message(body=b"%d" % number, key=key)) for number, key in enumerate(keys_of_part(7, 3))]
    async with opened(path, clock) as one, opened(path, clock) as two:
        first = await member(one)
        await one.publish(same_part)
        assert len(await take(first, 3)) == 3
        async with frozen(one):
            second = await member(two)
            await live(clock, 60, two)
            for body, outcome in ((b"0", RELEASED), (b"1", ACKED), (b"2", ACKED), (b"0", ACKED)):
                got = await second.receive(3)
                assert [(each.message.body, each.attempt) for each in got] == [(body, 2)]
                assert rows(path, "SELECT count(*) FROM pabal_slot WHERE NOT clean") == [(1,)]
                assert await settle(second, got, outcome) == [Settlement.DONE]
            await until(lambda: rows(path, "SELECT count(*) FROM pabal_slot WHERE NOT clean") == [(0,)], two)
            await two.publish([Post(message(key=key)) for key in keys_of_part(7, 3)])
            await until(lambda: len(second._buffer) == 3, two)
            assert {each.attempt for each in await take(second, 3)} == {1}


def keys_of_part(part: int, count: int) -> list[str]:
    routing = Routing(1, [], owned=[1])
    return [key for key in map(str, range(10_000)) if routing.part(1, key, "") == part][:count]


async def test_a_message_that_kills_its_process_is_counted_each_time(path: Path, clock: VirtualClock) -> None:
    """However often its owner dies of it, also before it is settled by the next one, the attempts go up by one."""
    async with AsyncExitStack() as stack:
        transports = [await stack.enter_async_context(opened(path, clock)) for _ in range(4)]
        await (await member(transports[0])).aclose()
        await transports[0].publish(line("a", 1))
        for number, transport in enumerate(transports):
            reader = await member(transport)
            await live(clock, 60, transport)
            (delivery,) = await take(reader, 1)
            assert delivery.attempt == 1 + number
            await stack.enter_async_context(frozen(transport))


async def test_what_kills_its_process_is_counted_however_much_is_before_it(path: Path, clock: VirtualClock) -> None:
    """A deadly message far behind waits until the first window is through, so that each death brings it nearer."""
    async with AsyncExitStack() as stack:
        transports = [await stack.enter_async_context(opened(path, clock)) for _ in range(5)]
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE pabal_meta SET value = 1 WHERE name = 'parts'")
        await (await member(transports[0])).aclose()
        await transports[0].publish([*line("a", 150), *line("deadly", 1), *line("a", 50, 150)])
        attempts: list[int] = []
        for transport in transports:
            reader = await member(transport)
            await live(clock, 60, transport)
            while True:
                got = await take(reader, 1)
                if got[0].message.key == "deadly":
                    break
                await settle(reader, got, ACKED)
            attempts.append(got[0].attempt)
            await stack.enter_async_context(frozen(transport))
        assert attempts == [1, 1, 2, 3, 4]


async def test_what_nobody_extends_comes_again_counted(path: Path, clock: VirtualClock) -> None:
    """A delivery whose holder gives no sign of life comes again although the process lives, before its followers."""
    async with opened(path, clock) as transport:
        reader = await member(transport)
        await transport.publish(line("a", 2))
        late = await take(reader, 1)
        clock.advance(29)
        assert await reader.extend(late) == []
        clock.advance(29)
        assert await reader.extend(late) == []
        clock.advance(30)
        assert list(await reader.extend(late)) == late
        (again,) = await take(reader, 1)
        assert (again.message.body, again.attempt, again.errors) == (b"a0", 2, ())
        assert await settle(reader, late, ACKED) == [Settlement.LOST]
        assert await settle(reader, [again], ACKED) == [Settlement.DONE]
        assert await each(reader, 1) == [b"a1"]


async def test_settling_once_is_enough(path: Path) -> None:
    """Of two settlements of one delivery at the same time, or of a delivery given twice, one is lost."""
    async with opened(path) as transport:
        reader = await member(transport)
        await transport.publish(line("a", 2))
        (first,) = await take(reader, 1)
        twice = [Settled(first, Retried(0.0)), Settled(first, ACKED)]
        assert list(await reader.settle(twice)) == [Settlement.DONE, Settlement.LOST]
        (again,) = await take(reader, 1)
        assert (again.message.body, again.attempt) == (b"a0", 2)
        results = tuple(await asyncio.gather(settle(reader, [again], ACKED), settle(reader, [again], Retried(0.0))))
        assert results == ([Settlement.DONE], [Settlement.LOST])
        assert await each(reader, 1) == [b"a1"]


async def test_a_delivery_of_another_subscription_is_refused(path: Path) -> None:
    """Settling what a shared group delivered with an ordered one is a mistake that is said."""
    async with opened(path) as transport:
        shared, reader = await transport.subscribe(Source("a.b", "shared")), await member(transport)
        await transport.publish(posts(b"1"))
        with pytest.raises(TypeError, match="is not from this subscription"):
            await settle(reader, await take(shared, 1), ACKED)


async def test_a_group_that_became_another_refuses_its_old_member(path: Path, clock: VirtualClock) -> None:
    """A member that was frozen while its group became unordered hears of it by an error, and the others go on."""
    async with opened(path, clock) as one, opened(path, clock) as two:
        first = await member(one)
        other = await one.subscribe(Source("other", "group"))
        async with frozen(one):
            clock.advance(60)
            second = await two.subscribe(Source("a.b", "group"))
        with pytest.raises(ConnectionFailed, match="is read unordered by its living members"):
            await first.receive(1)
        await two.publish([*posts(b"1"), *posts(b"2", channel="other")])
        assert bodies(await take(second, 1)) == [b"1"]
        assert bodies(await take(other, 1)) == [b"2"]


async def test_a_shared_member_hears_that_its_group_became_ordered(path: Path, clock: VirtualClock) -> None:
    """The same, the other way round."""
    async with opened(path, clock) as one, opened(path, clock) as two:
        first = await one.subscribe(Source("a.b", "group"))
        async with frozen(one):
            clock.advance(60)
            await member(two)
        with pytest.raises(ConnectionFailed, match="is read ordered with on_dead='park' by its living members"):
            await first.receive(1)


# What stands behind.


async def test_a_retry_holds_up_its_key_and_what_stands_behind_is_seen_waiting(path: Path, clock: VirtualClock) -> None:
    """While the first of a key waits for a retry the others of the key wait, seen as such; then all come in order."""
    async with opened(path, clock) as transport:
        reader = await member(transport)
        await transport.publish([*line("a", 50), *line("b", 2)])
        first, other = await take(reader, 2)
        await settle(reader, [first], Retried(10.0))
        await settle(reader, [other], ACKED)
        assert await each(reader, 1) == [b"b1"]
        await transport.publish(line("a", 1, 50))
        await transport._writer.write(lambda _: None)  # what was met is moved in its next transaction
        (status,) = await transport.groups()
        assert (status.ready, status.waiting, status.leased) == (0, 51, 0)
        clock.advance(10)
        (again,) = await take(reader, 1)
        assert (again.message.body, again.attempt) == (b"a0", 2)
        await settle(reader, [again], Retried(10.0))
        clock.advance(10)
        assert await each(reader, 51) == [b"a%d" % number for number in range(51)]
        assert (await transport.groups())[0].waiting == 0


async def test_a_long_line_behind_a_dead_letter_survives_a_takeover(path: Path, clock: VirtualClock) -> None:
    """Hundreds behind a dead letter wait at whatever member, and come in order once it is redriven."""
    async with opened(path, clock) as one, opened(path, clock) as two:
        first = await member(one)
        await one.publish(line("a", 300))
        await settle(first, await take(first, 1), Rejected("rejected"))
        await one.publish(line("b", 1))
        assert await each(first, 1) == [b"b0"]
        second = await member(two)
        async with frozen(one):
            await live(clock, 60, two)
            await until(lambda: owned(second) == 64, two)
            assert (await two.groups())[0].waiting == 299
            texts = [finding.text for finding in await two.findings()]
            assert "group 'group' of 'a.b': 1 keys wait behind their dead letters; redrive or discard these" in texts
            (letter,) = await all_letters(two)
            assert (await two.redrive([letter.id]))[0].receivers == 1
            await two.publish(line("a", 1, 300))
            assert await each(second, 301) == [b"a%d" % number for number in range(301)]


async def test_behind_a_slow_message_a_long_line_steps_aside(path: Path, clock: VirtualClock) -> None:
    """With a window of 2 and a key of hundreds whose first takes long, other keys published later are not held up."""
    async with opened(path, clock) as transport:
        reader = await member(transport, window=2)
        await transport.publish([*line("a", 200), *line("b", 2)])
        (slow,) = await take(reader, 1)
        clock.advance(0.3)
        assert await each(reader, 2) == [b"b0", b"b1"]
        assert (await transport.groups())[0].waiting > 150
        await settle(reader, [slow], ACKED)
        assert await each(reader, 199) == [b"a%d" % number for number in range(1, 200)]
        assert (await transport.groups())[0].ready == 0


async def test_a_delayed_message_has_its_place_when_it_is_due(path: Path, clock: VirtualClock) -> None:
    """Delayed ones of a key hold up nothing, and come in the order of their times, behind what was published before."""
    async with opened(path, clock) as transport:
        await (await member(transport)).aclose()
        late, soon = line("a", 2)
        await transport.publish([Post(late.message, due=START + 20), Post(soon.message, due=START + 10)])
        await transport.publish(line("a", 1, 2))
        clock.advance(30)
        await transport.publish(line("a", 1, 3))
        reader = await member(transport)
        assert await each(reader, 4) == [b"a2", b"a3", b"a1", b"a0"]


async def test_thousands_of_delayed_messages_come_in_the_order_of_their_times(path: Path, clock: VirtualClock) -> None:
    """More than one transaction wakes at once, due at one time: none is overtaken."""
    async with opened(path, clock) as transport:
        reader = await member(transport)
        await transport.publish([Post(post.message, due=START + 10) for post in line("a", 1500)])
        clock.advance(10)
        assert await each(reader, 1500) == [b"a%d" % number for number in range(1500)]


async def test_a_removed_ordered_group_leaves_its_backlog_as_letters(path: Path, clock: VirtualClock) -> None:
    """What was ready, waiting and behind becomes dead letters that hold up nobody in a new group of that name."""
    async with opened(path, clock) as transport:
        reader = await member(transport)
        await transport.publish([*line("a", 3), *line("b", 2)])
        first, other = await take(reader, 2)
        await settle(reader, [first], Retried(10.0))
        await settle(reader, [other], Rejected("rejected"))
        with pytest.raises(ConfigurationError, match="has living members"):
            await transport.remove(GROUP)
        await reader.aclose()
        assert await transport.remove(GROUP) == 4
        assert rows(path, "SELECT count(*) FROM pabal_slot") == [(0,)]
        reader = await member(transport)
        await transport.publish([*line("a", 1, 9), *line("b", 1, 9)])
        assert await each(reader, 2) == [b"a9", b"b9"]
        removed = [letter.id for letter in await all_letters(transport) if letter.reason == "removed"]
        await transport.redrive(removed)
        assert await each(reader, 4) == [b"a0", b"b1", b"a1", b"a2"]
        (dead,) = await all_letters(transport)
        await transport.redrive([dead.id])
        assert await each(reader, 1) == [b"b0"]


async def test_on_continue_a_redriven_one_comes_before_those_that_have_not_gone(path: Path) -> None:
    """Where a key goes on behind its dead letter, that comes at its old place when it is redriven."""
    async with opened(path) as transport:
        reader = await member(transport, on_dead="continue")
        await transport.publish(line("a", 4))
        await settle(reader, await take(reader, 1), Rejected("rejected"))
        (second,) = await take(reader, 1)
        (letter,) = await all_letters(transport)
        await transport.redrive([letter.id])
        await settle(reader, [second], ACKED)
        assert await each(reader, 3) == [b"a0", b"a2", b"a3"]


# The file.


async def test_a_settlement_that_failed_may_be_tried_again(path: Path) -> None:
    """While another program holds the file, settling says UNKNOWN and keeps the delivery; afterwards it is DONE."""
    async with opened(path, SystemClock()) as transport:
        reader = await member(transport)
        await transport.publish(line("a", 2))
        first = await take(reader, 1)
        await transport._writer.tell(lambda box: box.file.connection.execute("PRAGMA busy_timeout = 10").fetchall())
        with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            assert await settle(reader, first, ACKED) == [Settlement.UNKNOWN]
            foreign.execute("ROLLBACK")
        assert await settle(reader, first, ACKED) == [Settlement.DONE]
        assert await each(reader, 1) == [b"a1"]


async def test_reading_that_fails_is_tried_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error of the file while a member reads is said once, and what it was about to read comes afterwards."""
    caplog.set_level(logging.WARNING, "pabal.sqlite")
    async with opened(path, SystemClock()) as transport:
        reader = await member(transport)
        broken = True
        stock = reader_of(reader).stock
        fresh = stock._keys.fresh

        def fail_once(*args: object, **named: object) -> Sequence[object]:
            nonlocal broken
            if broken:
                broken = False
                raise sqlite3.OperationalError("disk I/O error")
            return fresh(*args, **named)  # type: ignore[arg-type]

        stock._keys.fresh = fail_once  # type: ignore[method-assign,assignment]
        await transport.publish(line("a", 2))
        assert await each(reader, 2) == [b"a0", b"a1"]
        assert [record.getMessage().split("; ")[-1] for record in caplog.records] == ["trying again until it works"]


def test_no_statement_reads_a_whole_backlog() -> None:
    """Each statement of the order of keys finds its rows by an index."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in migrations("sqlite"):
            connection.executescript(script)
        statements = [keys._BRING_BACK, keys._STANDS, keys._NEWEST, keys._LAST_OF_RETURNED]
        held = f"({keys._HELD} OR {keys._PARKED})"
        statements += [statement.format(held=held) for statement in (keys._FRESH, keys._RETURNED, keys._MOVE)]
        for statement in statements:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")).fetchall()
            assert [step for *_, step in plan if step.startswith("SCAN") and "pabal" in step] == []
            assert [step for *_, step in plan if "TEMP B-TREE" in step] == []
