"""What is particular to Redis streams: what is trimmed, who owns an entry, and what comes again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from pabal import Backoff, Bus, CapabilityError, ConfigurationError, Context, Message, NoResponders
from pabal.model.clock import SystemClock, utc
from pabal.model.message import new_id
from pabal.model.outcome import ACKED, Retried, Settlement
from pabal.model.transport import Delivery, Post, Settled, Source, Transport
from pabal.runtime.registry import make_transport
from tests.acceptance.seen import Seen, letters, until
from tests.servers.legs import Given
from tests.servers.plugin import Start
from tests.servers.server import Server


@pytest.fixture
def url(redis_server: Server | Given, own_token: str) -> str:
    return redis_server.url("redis+streams") + f"?prefix={own_token}:"


@pytest.fixture
async def plain(redis_server: Server | Given) -> AsyncIterator[Any]:
    """A client that knows nothing of pabal."""
    async with Redis.from_url(redis_server.url("redis")) as client:
        yield client


@pytest.fixture
async def transport(url: str) -> AsyncIterator[Transport]:
    opened = make_transport(url + "&lease=2", clock=SystemClock())
    await opened.open()
    yield opened
    await opened.aclose()


def message(channel: str = "a", body: bytes = b"") -> Message:
    return Message(id=new_id(), channel=channel, body=body, time=utc(SystemClock.time()))


async def length(plain: Any, stream: str, expected: int) -> None:
    """Wait until a stream is that long."""
    async with asyncio.timeout(20):
        while expected != await plain.xlen(stream):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)


async def test_only_what_all_have_done_is_trimmed(transport: Transport, plain: Any, own_token: str) -> None:
    """An idle group, one entry in hand, and a listener that has not read keep what follows in the stream."""
    stream = f"{own_token}:a"
    quick = await transport.subscribe(Source("a", "quick"))
    await (await transport.subscribe(Source("a", "idle"))).aclose()
    await transport.publish([Post(message()) for _ in range(10)])
    got = list(await quick.receive(10))
    while len(got) < 10:
        got += await quick.receive(10)
    await quick.settle([Settled(each, ACKED) for each in got])
    await asyncio.sleep(1.5)
    assert 10 == await plain.xlen(stream)

    idle = await transport.subscribe(Source("a", "idle"))
    late: list[Settled] = []
    while len(late) < 10:
        late += [Settled(each, ACKED) for each in await idle.receive(10)]
    await idle.settle(late[:4] + late[5:])
    await length(plain, stream, 6)
    await idle.settle(late[4:5])
    await length(plain, stream, 0)


async def test_no_position_keeps_a_stream_from_being_trimmed(transport: Transport, plain: Any, own_token: str) -> None:
    """Neither a group that begins at a time and has had nothing yet, nor ids of others with numbers past Lua's."""
    stream = f"{own_token}:a"
    at = utc(SystemClock.time() - 60)
    await (await transport.subscribe(Source("a", "idle", start=at))).aclose()
    quick = await transport.subscribe(Source("a", "quick", start="oldest"))
    parts = [(1, 1), (1, 2**63 + 99), (1, 2**63 + 101), (2, 2**64 - 1), (3, 0), (9, 10**19 + 9), (9, 10**19 + 10)]
    ids = [f"{ms}-{number}" for ms, number in parts]
    for id in ids:
        await plain.xadd(stream, {"data": "x"}, id=id)
    got: list[Delivery] = []
    while len(got) < len(ids):
        got += await quick.receive(len(ids))
    await plain.xgroup_create(stream, "behind", "0")
    for done, id in enumerate(ids, 1):
        await plain.xgroup_setid(stream, "behind", id)
        await quick.settle([Settled(got[done - 1], ACKED)])
        await quick.extend(got[done:])
        await length(plain, stream, len(ids) - done)
        assert ids[done:] == [id.decode() for id, _ in await plain.xrange(stream)]


async def test_nothing_is_trimmed_without_a_group(transport: Transport, plain: Any, own_token: str) -> None:
    """What nobody takes stays for the first group, though a listener has read it."""
    listener = await transport.subscribe(Source("a"))
    await transport.publish([Post(message()) for _ in range(5)])
    assert await listener.receive(10)
    await listener.aclose()
    await asyncio.sleep(1.5)
    assert 5 == await plain.xlen(f"{own_token}:a")
    first = await transport.subscribe(Source("a", "first"))
    taken = 0
    while taken < 5:
        taken += len(await first.receive(10))


async def test_a_slow_listener_misses_nothing(transport: Transport, plain: Any, own_token: str) -> None:
    """What its group has done stays until the listener has read it too; then it goes."""
    slow = await transport.subscribe(Source("a", window=5))
    group = await transport.subscribe(Source("a", "g"))
    sent = [message() for _ in range(50)]
    await transport.publish([Post(each) for each in sent])
    done: list[Settled] = []
    while len(done) < 50:
        done += [Settled(each, ACKED) for each in await group.receive(50)]
    await group.settle(done)
    await asyncio.sleep(1.5)
    heard: list[str] = []
    while len(heard) < 50:
        heard += [each.message.id for each in await slow.receive(5)]
    assert [each.id for each in sent] == heard
    await transport.publish([Post(message())])
    await group.settle([Settled(each, ACKED) for each in await group.receive(1)])
    await length(plain, f"{own_token}:a", 0)


async def test_a_dead_listener_is_forgotten(transport: Transport, plain: Any, own_token: str) -> None:
    """A listener's group whose process died holds nothing back once it is not heard of any more."""
    stream, dead = f"{own_token}:a", "pabal:listener:dead"
    await plain.xgroup_create(stream, dead, "$", mkstream=True)
    await plain.zadd(f"{own_token}:pabal:{{{stream}}}:listeners", {dead: 1})
    group = await transport.subscribe(Source("a", "g"))
    await transport.publish([Post(message())])
    await group.settle([Settled(each, ACKED) for each in await group.receive(1)])
    await length(plain, stream, 0)
    assert [b"g"] == [each["name"] for each in await plain.xinfo_groups(stream)]


async def test_trimming_can_wait_and_be_left_out(url: str, plain: Any, own_token: str) -> None:
    """``keep`` leaves what is done for so long, ``trim=false`` for ever; a replay begins there."""
    stream = f"{own_token}:a"
    for options, left in (("&keep=3600", 3), ("&trim=false", 6)):
        transport = make_transport(url + options, clock=SystemClock())
        await transport.open()
        group = await transport.subscribe(Source("a", "g"))
        await transport.publish([Post(message()) for _ in range(3)])
        done: list[Settled] = []
        while len(done) < 3:
            done += [Settled(each, ACKED) for each in await group.receive(3)]
        await group.settle(done)
        await transport.aclose()
        assert left == await plain.xlen(stream)
    bus, seen = Bus(url + "&trim=false", dead_letters="memory://"), Seen()
    since = utc(SystemClock.time()) - timedelta(hours=1)
    for name, start in (("oldest", "oldest"), ("since", since), ("new", "new")):

        @bus.handler("a", group=name, start=start)  # type: ignore[arg-type]
        async def handle(body: bytes, context: Context) -> None:
            seen.add(context.group)

    async with bus.running():
        assert ["oldest"] * 6 + ["since"] * 6 == sorted(await seen.wait(12))
        await bus.publish("a", b"")
        await seen.wait(15)


async def test_a_stale_owner_ends_nothing(transport: Transport, plain: Any, own_token: str) -> None:
    """Neither an acknowledgement nor an extension takes an entry from whoever has claimed it since (Redis would)."""
    stream = f"{own_token}:a"
    group = await transport.subscribe(Source("a", "g"))
    await transport.publish([Post(message()) for _ in range(3)])
    got = list(await group.receive(3))
    while len(got) < 3:
        got += await group.receive(3)
    ids = [each.token.id for each in got]  # type: ignore[attr-defined]
    await plain.xclaim(stream, "g", "rival", 0, ids[:2])
    assert [Settlement.LOST, Settlement.LOST, Settlement.DONE] == list(
        await group.settle([Settled(got[0], ACKED), Settled(got[1], Retried(0.0)), Settled(got[2], ACKED)])
    )
    assert got[:2] == list(await group.extend(got[:2]))
    pending = await plain.xpending_range(stream, "g", "-", "+", 10)
    assert [(ids[0], b"rival"), (ids[1], b"rival")] == [(each["message_id"], each["consumer"]) for each in pending]


async def test_a_delivery_that_came_again_to_the_same_member_ends_once(
    transport: Transport, plain: Any, own_token: str
) -> None:
    """What a member has taken over from itself is ended by the later delivery, in a row with others and alone."""
    stream = f"{own_token}:a"
    group = await transport.subscribe(Source("a", "g"))
    await transport.publish([Post(message()) for _ in range(6)])
    got: list[Delivery] = []
    while len(got) < 6:
        got += await group.receive(6)
    ids = [each.token.id for each in got]  # type: ignore[attr-defined]
    (pending, *_) = await plain.xpending_range(stream, "g", "-", "+", 1)
    await plain.xclaim(stream, "g", pending["consumer"], 0, [ids[2], ids[5]])
    lost, done = Settlement.LOST, Settlement.DONE
    assert [done, lost, done] == list(await group.settle([Settled(got[n], ACKED) for n in (0, 2, 3)]))  # not of 1
    assert [done, done] == list(await group.settle([Settled(got[n], ACKED) for n in (4, 1)]))
    assert [lost, lost] == list(await group.settle([Settled(got[5], ACKED), Settled(got[0], ACKED)]))
    assert [ids[2], ids[5]] == [each["message_id"] for each in await plain.xpending_range(stream, "g", "-", "+", 9)]


async def test_what_is_lost_on_its_way_comes_again(start_redis: Start) -> None:
    """Entries that the server has handed to us, and whose reply was lost, are given back after the reconnection."""
    server = start_redis()
    transport = make_transport(server.url("redis+streams"), clock=SystemClock())
    await transport.open()
    sent = [message() for _ in range(5)]
    try:
        plain: Any = Redis.from_url(server.url("redis"))
        async with plain:
            group = await transport.subscribe(Source("a", "g", window=10))
            await transport.publish([Post(sent[0])])
            first = await group.receive(1)
            (held,) = await plain.xpending_range("a", "g", "-", "+", 2)
            group.resize(0)
            await transport.publish([Post(each) for each in sent[1:]])
            # In the same member's name, on another connection: as if the reply had gone astray.
            await plain.xreadgroup("g", held["consumer"], {"a": ">"}, count=10)
            group.resize(10)
            while not any(  # noqa: ASYNC110 - no event tells that it reads again: only what it asks for can be lost
                each["cmd"] == "xreadgroup" and "b" in each["flags"] for each in await plain.client_list()
            ):
                await asyncio.sleep(0.001)
            await plain.client_kill_filter(_type="normal", skipme=True)
            got: list[Delivery] = []
            while len(got) < 4:
                got += await group.receive(10)
        assert {each.id for each in sent[1:]} == {each.message.id for each in got}
        assert {1} == {each.attempt for each in got}
        assert [Settlement.DONE] * 5 == list(await group.settle([Settled(each, ACKED) for each in [*first, *got]]))
    finally:
        await transport.aclose()


async def test_dead_members_are_forgotten_but_not_what_they_had(
    transport: Transport, plain: Any, own_token: str
) -> None:
    """What a member had that died comes to another, counted; leaving deletes no member that has something."""
    await (await transport.subscribe(Source("a", "g"))).aclose()
    sent = message()
    await transport.publish([Post(sent)])
    await plain.xreadgroup("g", "pabal-dead", {f"{own_token}:a": ">"})
    group = await transport.subscribe(Source("a", "g"))
    async with asyncio.timeout(10):
        (again,) = await group.receive(1)
    assert (sent.id, 2, ()) == (again.message.id, again.attempt, again.errors)
    await group.settle([Settled(again, ACKED)])


async def test_a_lease_is_its_owners(transport: Transport, plain: Any, url: str, own_token: str) -> None:
    """A member with a short lease leaves alone what one with a long lease has in hand, as in a change of the URL."""
    patient = make_transport(url + "&lease=60", clock=SystemClock())
    await patient.open()
    slow = await patient.subscribe(Source("a", "g"))
    await patient.publish([Post(message()) for _ in range(2)])
    got = list(await slow.receive(2))
    while len(got) < 2:
        got += await slow.receive(2)
    stream = f"{own_token}:a"
    first, second = await plain.xpending_range(stream, "g", "-", "+", 2)
    owner = first["consumer"]
    await plain.xclaim(stream, "g", owner, 0, [first["message_id"]], idle=30_000, justid=True)
    await plain.xclaim(stream, "g", owner, 0, [second["message_id"]], idle=61_000, justid=True)
    quick = await transport.subscribe(Source("a", "g"))
    async with asyncio.timeout(10):
        (taken,) = await quick.receive(2)
    assert got[1].message.id == taken.message.id
    assert [Settlement.DONE, Settlement.LOST] == list(await slow.settle([Settled(each, ACKED) for each in got]))
    await patient.aclose()


async def test_retries_wait_at_the_server(url: str, plain: Any, own_token: str) -> None:
    """A failed message comes again to its group alone with its history, and leaves nothing behind in the end."""
    bus, seen, healthy = Bus(url, dead_letters="memory://"), Seen(), Seen()

    @bus.handler("todo", group="failing", retry=Backoff(attempts=3, first=0.2, most=0.2))
    async def failing(number: int, context: Context) -> None:
        seen.add((number, context.attempt))
        if number:
            raise LookupError(f"no {number}")

    @bus.handler("todo", group="healthy")
    async def well(number: int) -> None:
        healthy.add(number)

    async with bus.running():
        await bus.publish_many("todo", [0, 1])
        assert {(0, 1), (1, 1), (1, 2), (1, 3)} == set(await seen.wait(4))
        (letter,) = await letters(bus)
        assert ("exhausted", "failing") == (letter.reason, letter.group)
        assert [1, 2, 3] == [failure.attempt for failure in letter.attempts]
        assert {0, 1} == set(await healthy.wait(2))
        (sent,) = await bus.dead_letters.redrive([letter.id])
        assert sent.error is None
        assert [(1, 1), (1, 2), (1, 3)] == (await seen.wait(7))[4:]
        await letters(bus)
    assert 2 == len(healthy)
    await length(plain, f"{own_token}:todo", 0)
    left = sorted(await plain.keys(f"{own_token}:*"))
    sides = [f"{own_token}:pabal:{{{own_token}:todo}}:side:{group}".encode() for group in ("failing", "healthy")]
    assert sorted([f"{own_token}:todo".encode(), *sides]) == left
    assert [0, 0] == [await plain.xlen(side) for side in sides]
    assert [] == [each["consumers"] for each in await plain.xinfo_groups(f"{own_token}:todo") if each["consumers"]]


@pytest.mark.parametrize("window", [1, 2, 20])
async def test_retries_do_not_wait_behind_a_backlog(
    transport: Transport, plain: Any, own_token: str, window: int
) -> None:
    """What comes again is read together with what is new, and is not sent round in circles meanwhile."""
    group = await transport.subscribe(Source("a", "g", window=window))
    await transport.publish([Post(message(body=b"%d" % number)) for number in range(300)])
    failing = {b"0", b"1", b"2"}
    order: list[bytes] = []
    while len(order) < 303:
        for each in await group.receive(1):
            order.append(each.message.body)
            again = each.message.body in failing and each.attempt == 1
            await group.settle([Settled(each, Retried(0.0) if again else ACKED)])
    assert {b"%d" % number for number in range(300)} == set(order)
    assert [2, 2, 2] == [order[:150].count(each) for each in sorted(failing)]
    side = await plain.xinfo_stream(f"{own_token}:pabal:{{{own_token}:a}}:side:g")
    assert side["entries-added"] < 3 + 3 * window


async def test_delays_are_kept_by_the_server(url: str, plain: Any, own_token: str) -> None:
    """A delayed message outlives its publisher, comes to groups and listeners in its time, and by whoever is there."""
    async with Bus(url, dead_letters="memory://") as bus:
        await bus.publish("todo", "later", delay=1.0)
        await bus.publish("todo", "now")
    bus, seen = Bus(url, dead_letters="memory://"), Seen()

    @bus.handler("todo", group="g")
    async def handle(text: str) -> None:
        seen.add(text)

    @bus.listen("todo")
    async def listen(text: str) -> None:
        seen.add(f"heard {text}")

    async with bus.running():
        assert ["heard later", "later", "now"] == sorted(await seen.wait(3))
    assert [] == await plain.keys(f"{own_token}:pabal:*later*")


async def test_requests_are_no_entries(url: str, plain: Any, own_token: str) -> None:
    """A thousand at once are answered over Pub/Sub; a group that sleeps is not asked, and nothing is kept of them."""
    bus = Bus(url, dead_letters="memory://")

    @bus.handler("double", group="g", concurrency=50)
    async def double(number: int) -> int:
        return number * 2

    async with Bus(url, dead_letters="memory://") as asking:
        async with bus.running():
            got = await asyncio.gather(*(asking.request("double", n, reply=int, timeout=30) for n in range(1000)))
        assert [2 * n for n in range(1000)] == got
        async with asyncio.timeout(5):
            with pytest.raises(NoResponders):
                await asking.request("double", 1, timeout=60)
    assert 0 == await plain.xlen(f"{own_token}:double")
    assert [] == await plain.pubsub_channels(f"{own_token}:*")


async def test_what_cannot_be_is_refused(url: str, plain: Any, own_token: str) -> None:
    """Order and patterns are refused by name, and a key that is no stream is left as it is."""
    for source, options in (("a.>", {}), ("a", {"ordered": True})):
        bus = Bus(url, dead_letters="memory://")
        bus.handler(source, group="g", **options)(_ignore)  # type: ignore[call-overload]
        with pytest.raises(CapabilityError):
            async with bus.running():
                pass
    await plain.set(f"{own_token}:taken", "text")
    bus = Bus(url, dead_letters="memory://")
    bus.handler("taken", group="g")(_ignore)
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        async with bus.running():
            pass
    assert b"text" == await plain.get(f"{own_token}:taken")
    await plain.delete(f"{own_token}:taken")


async def _ignore(body: bytes) -> None: ...


async def test_a_window_of_nothing_takes_nothing(transport: Transport, plain: Any, own_token: str) -> None:
    """A consumer that pulls nothing at the moment has its read ended at the server: others get all, in order."""
    idle = await transport.subscribe(Source("a", "g", window=50))
    idle.resize(0)
    await until(lambda: not idle._beside)  # type: ignore[attr-defined]
    quick = await transport.subscribe(Source("a", "g"))
    sent = [message() for _ in range(20)]
    await transport.publish([Post(each) for each in sent])
    got: list[str] = []
    while len(got) < 20:
        got += [each.message.id for each in await quick.receive(20)]
    assert [each.id for each in sent] == got


async def test_a_group_that_was_removed_begins_anew(url: str, plain: Any, own_token: str) -> None:
    """Somebody deletes the key under a running handler: it is said, and the handler gets what comes after."""
    bus, seen = Bus(url, dead_letters="memory://"), Seen()

    @bus.handler("todo", group="g")
    async def handle(number: int) -> None:
        seen.add(number)

    async with bus.running():
        await bus.publish("todo", 1)
        await seen.wait(1)
        await plain.delete(*await plain.keys(f"{own_token}:*todo*"))
        await bus.publish("todo", 2)
        assert [1, 2] == await seen.wait(2)


async def test_full_memory_is_an_error_of_the_publish(start_redis: Start) -> None:
    """A server that is full and keeps what it has refuses the message: no false success."""
    server = start_redis(settings={"maxmemory": "2mb", "maxmemory-policy": "noeviction"})
    transport = make_transport(server.url("redis+streams"), clock=SystemClock())
    await transport.open()
    try:
        receipts = [r for _ in range(30) for r in await transport.publish([Post(message(body=b"x" * 100_000))])]
        assert receipts[0].error is None
        assert "OOM" in str(receipts[-1].error)
        async with Redis.from_url(server.url("redis")) as plain:
            assert sum(receipt.error is None for receipt in receipts) == await plain.xlen("a")
    finally:
        await transport.aclose()
