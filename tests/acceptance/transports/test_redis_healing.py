"""What is made good on a Redis that was made to forget, was demoted, or holds what nobody expects."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from pabal import Backoff, Bus, Message
from pabal.model.clock import SystemClock, utc
from pabal.model.message import new_id
from pabal.model.outcome import ACKED, Released
from pabal.model.transport import Delivery, Post, Settled, Source, Transport
from pabal.runtime.registry import make_transport
from tests.acceptance.seen import Seen, letters, until
from tests.servers.legs import Given
from tests.servers.plugin import Start
from tests.servers.server import Server

SCHEMES = ("redis+pubsub", "redis+streams")


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
    opened = make_transport(url, clock=SystemClock())
    await opened.open()
    yield opened
    await opened.aclose()


def message(number: int = 0) -> Message:
    return Message(id=new_id(), channel="a", body=b"%d" % number, time=utc(SystemClock.time()))


def numbers(bus: Bus, seen: Seen, channel: str = "a", group: str = "g") -> None:
    """Note what a group gets."""

    @bus.handler(channel, group=group, delivery="at-most-once")
    async def handle(number: int) -> int:
        seen.add((group, number))
        return number


async def test_scripts_are_loaded_again(start_redis: Start, scheme: str) -> None:
    """A server that has forgotten all scripts gets them again, in the middle of everything."""
    server = start_redis()
    bus, seen = Bus(server.url(scheme), dead_letters="memory://"), Seen()
    numbers(bus, seen)
    async with bus.running(), Redis.from_url(server.url("redis")) as plain:
        for number in range(3):
            await plain.script_flush()
            assert number == await bus.request("a", number, reply=int)
            await bus.publish("a", number)
            await seen.wait(2 * number + 2)


async def test_what_comes_after_everything_was_flushed_is_not_missed(start_redis: Start) -> None:
    """Groups whose stream is gone are made anew behind what they had: each gets all that was published since."""
    server = start_redis()
    bus, seen = Bus(server.url("redis+streams"), dead_letters="memory://"), Seen()
    for group in ("g", "h"):
        numbers(bus, seen, group=group)
    async with bus.running(), Redis.from_url(server.url("redis")) as plain:
        await bus.publish("a", 0)
        await seen.wait(2)
        await plain.flushall()
        await bus.publish_many("a", range(1, 10))
        assert sorted((group, number) for group in "gh" for number in range(10)) == sorted(await seen.wait(20))
        await until(lambda: len(seen) == 20)


async def test_a_group_goes_on_after_what_it_had(transport: Transport, plain: Any, own_token: str) -> None:
    """A group that somebody destroys under its members misses nothing, and gets nothing twice that it had."""
    stream = f"{own_token}:a"
    group = await transport.subscribe(Source("a", "g"))
    await (await transport.subscribe(Source("a", "idle"))).aclose()
    await transport.publish([Post(message(0))])
    got = list(await group.receive(1))
    await group.settle([Settled(got[0], ACKED)])
    async with plain.pipeline(transaction=True) as pipeline:
        pipeline.xgroup_destroy(stream, "g")
        pipeline.xadd(stream, {"data": "1"})
        await pipeline.execute()
    async with asyncio.timeout(10):
        (next_one,) = await group.receive(1)
    assert b"1" == next_one.message.body


async def test_a_group_begins_anew_where_the_clock_is_behind(transport: Transport, plain: Any, own_token: str) -> None:
    """Entries that another server has made since, under earlier ids than the last that was read, are not skipped."""
    stream = f"{own_token}:a"
    group = await transport.subscribe(Source("a", "g"))
    await transport.publish([Post(message(0))])
    got = list(await group.receive(1))
    await group.settle([Settled(got[0], ACKED)])
    async with plain.pipeline(transaction=True) as pipeline:
        pipeline.delete(stream)
        pipeline.xadd(stream, {"data": "1"}, id="1-1")
        await pipeline.execute()
    async with asyncio.timeout(10):
        (next_one,) = await group.receive(1)
    assert b"1" == next_one.message.body


async def test_a_side_stream_without_its_group_is_mended(transport: Transport, plain: Any, own_token: str) -> None:
    """Who destroys the group of what comes again stops neither the rest nor that."""
    group = await transport.subscribe(Source("a", "g"))
    (side,) = await plain.keys(f"{own_token}:*side:g")
    await plain.xgroup_destroy(side, "g")
    await transport.publish([Post(message(1))])
    async with asyncio.timeout(10):
        (first,) = await group.receive(1)
        await group.settle([Settled(first, Released())])
        (again,) = await group.receive(1)
    assert first.message.id == again.message.id


async def test_readers_are_known_again_after_a_flush(start_redis: Start) -> None:
    """Publishers learn within seconds again who reads, though no connection was lost."""
    server = start_redis()
    buses, seen = [Bus(server.url("redis+pubsub")) for _ in range(2)], Seen()
    for bus in buses:
        numbers(bus, seen, "a.*")
    async with buses[0].running(), buses[1].running(), Redis.from_url(server.url("redis")) as plain:
        await plain.flushall()
        async with asyncio.timeout(20):
            while 2 != await plain.exists("pabal:groups:a.*", "pabal:patterns"):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        assert 1 == (await buses[0].publish("a.b", 1)).receivers
        assert 0 == (await buses[1].publish("a.b.c", 2)).receivers
        await seen.wait(1)
    assert [("g", 1)] == seen


async def test_a_listener_that_stands_still_is_heard_of(transport: Transport, plain: Any, own_token: str) -> None:
    """With a full window it gives signs of life as well, or it would be taken for dead within a minute."""
    await transport.subscribe(Source("a", window=1))
    await transport.publish([Post(message(number)) for number in range(2)])
    (listeners,) = await plain.keys(f"{own_token}:*listeners")
    ((_, before),) = await plain.zrange(listeners, 0, -1, withscores=True)
    async with asyncio.timeout(20):
        while [before] == [score for _, score in await plain.zrange(listeners, 0, -1, withscores=True)]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_closing_does_not_wait_to_trim(start_redis: Start) -> None:
    """What was settled just before the server went is trimmed by others."""
    server = start_redis()
    transport = make_transport(server.url("redis+streams"), clock=SystemClock())
    await transport.open()
    for channel in ("a", "b"):
        group = await transport.subscribe(Source(channel, "g"))
        sent = Message(id=new_id(), channel=channel, body=b"", time=utc(SystemClock.time()))
        await transport.publish([Post(sent)])
        await group.settle([Settled(each, ACKED) for each in await group.receive(1)])
        await group.aclose()
    server.kill()
    async with asyncio.timeout(15):
        await transport.aclose()


@pytest.mark.parametrize(
    ("id", "fields"),
    [
        ("1732000000000000-0", {"data": "1"}),
        (f"{2**64 - 2}-0", {"x": "y"}),
        ("*", {"pabal": f"0 0 {2**64 - 2}-0", "data": "1"}),
        ("*", {"pabal": "0 0 " + "9" * 5000 + "-0", "data": "1"}),
        ("*", {"pabal": "9" * 400 + " 0 1-1", "pabal-errors": b"\xff[", "data": "1"}),
        ("*", {"ce": b"\xff\x00", "data": b"\xff\x00"}),
        ("*", {"": ""}),
    ],
    ids=["microseconds", "largest", "origin", "long-origin", "attempts", "bytes", "empty"],
)
async def test_any_entry_is_handled(url: str, plain: Any, own_token: str, id: str, fields: dict[str, Any]) -> None:
    """Whatever id and fields somebody else's entry has, it is handled, fails and comes again like any other."""
    bus, seen = Bus(url, dead_letters="memory://"), Seen()

    @bus.handler("a", group="g", retry=Backoff(attempts=2, first=0.0))
    async def handle(body: bytes) -> None:
        seen.add(body)
        raise ValueError

    async with bus.running():
        await plain.xadd(f"{own_token}:a", fields, id=id)
        (letter,) = await letters(bus)
        assert "exhausted" == letter.reason
        assert 2 == len(letter.attempts) == len(seen)


async def test_an_entry_too_wide_to_copy_holds_up_nobody(transport: Transport, plain: Any, own_token: str) -> None:
    """No script can give back thousands of fields: such a one stays in hand, what is settled with it does not."""
    group = await transport.subscribe(Source("a", "g"))
    await plain.xadd(f"{own_token}:a", {f"f{number}": "" for number in range(5000)})
    await transport.publish([Post(message(1))])
    got: list[Delivery] = []
    while len(got) < 2:
        got += await group.receive(2)
    assert ["LOST", "DONE"] == [each.name for each in await group.settle([Settled(each, Released()) for each in got])]
    async with asyncio.timeout(10):
        (again,) = await group.receive(1)
    assert (b"1", 1) == (again.message.body, again.attempt)


async def test_a_demoted_server_is_left(start_redis: Start, scheme: str) -> None:
    """When the server becomes a replica of another one, all connections go there: the readers', too."""
    old = start_redis()
    new = start_redis(settings={"replicaof": f"127.0.0.1 {old.port}"})
    bus, seen = Bus(f"{scheme}://127.0.0.1:{old.port},127.0.0.1:{new.port}", dead_letters="memory://"), Seen()
    numbers(bus, seen)
    channel = "a" if scheme == "redis+pubsub" else "pabal:ask:0:a"
    async with bus.running(), Redis.from_url(old.url("redis")) as first, Redis.from_url(new.url("redis")) as second:
        await bus.publish("a", 1)
        await seen.wait(1)
        async with asyncio.timeout(30):
            while (await second.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
            await second.replicaof("NO", "ONE")
            await first.replicaof("127.0.0.1", new.port)
            while [(channel.encode(), 1)] != await second.pubsub_numsub(channel):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await bus.publish("a", 2)).receivers in (1, None)
        assert 3 == await bus.request("a", 3, reply=int)
        assert {1, 2, 3} == {number for _, number in await seen.wait(3)}


async def test_a_member_that_drains_takes_nothing_from_the_others(start_redis: Start) -> None:
    """While its last handler ends, what comes goes to the living members; it can be made to read again."""
    server = start_redis()
    transports = [make_transport(server.url("redis+pubsub"), clock=SystemClock()) for _ in range(2)]
    for each in transports:
        await each.open()
    draining, living = [await each.subscribe(Source("a", "g")) for each in transports]
    draining.resize(0)
    async with Redis.from_url(server.url("redis")) as plain, asyncio.timeout(10):
        while [(b"a", 1)] != await plain.pubsub_numsub("a"):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        sent = [message(number) for number in range(20)]
        assert [1] * 20 == [receipt.receivers for receipt in await transports[0].publish([Post(each) for each in sent])]
        got: list[str] = []
        while len(got) < 20:
            got += [delivery.message.id for delivery in await living.receive(20)]
        assert [each.id for each in sent] == got
        draining.resize(1)
        living.resize(0)
        while [(b"pabal:group:g@a", 1)] != await plain.pubsub_numsub("pabal:group:g@a"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        last = message(20)
        await transports[1].publish([Post(last)])
        assert [last.id] == [delivery.message.id for delivery in await draining.receive(1)]
    for each in transports:
        await each.aclose()
