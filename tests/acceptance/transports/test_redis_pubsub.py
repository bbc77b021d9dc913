"""What is particular to Redis Pub/Sub: groups, listeners and their number, on a server that knows only readers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from pabal import Bus, CapabilityError, Message, NoResponders
from pabal.model.address import Address
from pabal.model.clock import SystemClock, utc
from pabal.model.message import new_id
from pabal.model.outcome import Reason
from pabal.model.transport import Delivery, GroupId, Post, Source
from pabal.runtime.registry import make_transport
from pabal.transports.redis.commands import Commands, Script
from pabal.transports.redis.options import ServerOptions
from pabal.transports.redis.server import Server as Where
from tests.acceptance.seen import Seen, letters, until
from tests.servers.legs import Given
from tests.servers.plugin import Start
from tests.servers.server import Server


@pytest.fixture
def url(redis_server: Server | Given, own_token: str) -> str:
    return redis_server.url("redis+pubsub") + f"?prefix={own_token}:"


@pytest.fixture
async def plain(redis_server: Server | Given) -> AsyncIterator[Any]:
    """A client that knows nothing of pabal."""
    async with Redis.from_url(redis_server.url("redis")) as client:
        yield client


def _message() -> Message:
    return Message(id=new_id(), channel="a", time=utc(SystemClock.time()))


async def ours(plain: Any, token: str) -> list[bytes]:
    """What of a test's own is on the server: keys, and channels that somebody reads."""
    keys = await plain.keys(f"{token}:*")
    return sorted([*keys, *await plain.pubsub_channels(f"{token}:*")])


async def test_groups_share_and_listeners_get_all(url: str) -> None:
    """Two buses share a group's messages, every listener gets each, and the receipt counts a group once."""
    buses, shared, heard = [Bus(url), Bus(url)], Seen(), Seen()
    for bus in buses:

        @bus.handler("todo.new", group="save", delivery="at-most-once")
        async def save(number: int) -> None:
            shared.add(number)

        @bus.listen("todo.>")
        async def listen(number: int) -> None:
            heard.add(number)

    async with buses[0].running(), buses[1].running():
        receipts = await buses[0].publish_many("todo.new", range(300))
        assert [3] * 300 == [receipt.receivers for receipt in receipts]
        assert sorted([*range(300), *range(300)]) == sorted(await heard.wait(600))
        assert list(range(300)) == sorted(await shared.wait(300))
        receipt = await buses[1].publish("todo.other", 300)
        assert (True, 2) == (receipt.routed, receipt.receivers)
        assert [300, 300] == (await heard.wait(602))[600:]
    assert 300 == len(shared)


async def test_nobody_there_is_a_dead_letter(url: str) -> None:
    """What nobody reads is a dead letter, unrouted, and a redrive reaches whoever reads by then."""
    bus, seen = Bus(url), Seen()
    async with bus:
        receipt = await bus.publish("todo.new", 1)
        assert (False, 0) == (receipt.routed, receipt.receivers)
        (letter,) = await letters(bus)
        assert ("unrouted", None) == (letter.reason, letter.group)
        (stays,) = await bus.dead_letters.redrive([letter.id])
        assert stays.error == "still nobody takes todo.new"
    later = Bus(url)

    @later.handler("todo.new", group="save", delivery="at-most-once")
    async def save(message: Message) -> None:
        seen.add(message.id)

    async with later.running():
        (sent,) = await later.dead_letters.redrive([letter.id])
        assert (None, 1) == (sent.error, sent.receivers)
        assert [receipt.id] == await seen.wait(1)


async def test_a_star_is_one_token(url: str) -> None:
    """Redis's star goes beyond a dot, ours does not: neither for who gets a message nor for whether anybody does."""
    bus, seen = Bus(url), Seen()

    @bus.listen("a.*")
    async def one(number: int) -> None:
        seen.add(("a.*", number))

    @bus.handler("a.*.c", group="g", delivery="at-most-once")
    async def between(number: int) -> None:
        seen.add(("a.*.c", number))

    async with bus.running():
        receipts = [await bus.publish(channel, n) for n, channel in enumerate(("a.b", "a.b.c", "a.b.c.c", "a.b.d"))]
        assert [1, 1, 0, 0] == [receipt.receivers for receipt in receipts]
        assert {("a.*", 0), ("a.*.c", 1)} == set(await seen.wait(2))
        assert {2, 3} == {int(letter.message.body) for letter in await letters(bus, 2)}


async def test_a_redrive_reaches_the_group_that_failed(url: str) -> None:
    """The other group, the listeners and the claims of the first time are no part of it; it may be repeated."""
    bus, failed, other = Bus(url), Seen(), Seen()

    @bus.handler("todo.*", group="failing", delivery="at-most-once", retry=None)
    async def failing(message: Message) -> None:
        failed.add(message.channel)
        if len(failed) < 8:
            raise LookupError("not yet")

    @bus.handler("todo.new", group="healthy", delivery="at-most-once")
    async def healthy(message: Message) -> None:
        other.add(message.id)

    @bus.listen("todo.>")
    async def listen(message: Message) -> None:
        other.add(message.id)

    rival = Bus(url)
    rival.handler("todo.*", group="failing", delivery="at-most-once")(failing)
    async with bus.running(), rival.running():
        await bus.publish("todo.new", 1)
        await failed.wait(5)
        (letter,) = await letters(bus)
        (sent,) = await bus.dead_letters.redrive([letter.id])
        assert (None, 1) == (sent.error, sent.receivers)
        assert ["todo.new"] * 8 == await failed.wait(8)
    assert 2 == len(other)


async def test_what_has_no_id_is_handled_once(url: str, plain: Any, own_token: str) -> None:
    """Of a group's members the one that leads handles what a plain client publishes, equal texts each time."""
    buses, seen = [Bus(url) for _ in range(3)], Seen()
    for bus in buses:

        @bus.handler("channel21", group="g", delivery="at-most-once")
        async def handle(body: bytes, message: Message) -> None:
            assert message.source == ""
            seen.add(body)

    async with buses[0].running(), buses[1].running(), buses[2].running():
        for _ in range(50):
            assert 3 == await plain.publish(f"{own_token}:channel21", "ping")
        assert [b"ping"] * 50 == await seen.wait(50)
        # The server says who reads no more: another leads at once.
        leader = (await plain.get(f"{own_token}:pabal:lead:g@channel21")).decode()
        assert 1 == (await plain.pubsub_numsub(f"{own_token}:pabal:member:{leader}"))[0][1]
    async with Bus(url) as bus:
        await bus.publish("channel21", b"end")
    assert 50 == len(seen)


async def test_a_dead_leader_is_followed_at_once(url: str, plain: Any, own_token: str) -> None:
    """When the leader's connection is gone, the next message without an id has a new one, without waiting."""
    bus, seen = Bus(url), Seen()

    @bus.handler("channel21", group="g", delivery="at-most-once")
    async def handle(body: bytes) -> None:
        seen.add(body)

    async with bus.running():
        await plain.set(f"{own_token}:pabal:lead:g@channel21", "a-member-that-died", ex=1000)
        await plain.publish(f"{own_token}:channel21", "ping")
        assert [b"ping"] == await seen.wait(1)


async def test_a_leader_that_stands_still_is_followed(url: str, plain: Any, own_token: str) -> None:
    """One that is connected and handles nothing leads until its lead ends by itself; then another does."""
    bus, seen, lead = Bus(url), Seen(), f"{own_token}:pabal:lead:g@channel21"

    @bus.handler("channel21", group="g", delivery="at-most-once")
    async def handle(body: bytes) -> None:
        seen.add(body)

    async with bus.running(), plain.pubsub() as still:
        await still.subscribe(f"{own_token}:pabal:member:still")
        await still.get_message(timeout=5.0)
        await plain.set(lead, "still", px=500)
        await plain.publish(f"{own_token}:channel21", "not for us")
        async with asyncio.timeout(10):
            while await plain.exists(lead):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        await plain.publish(f"{own_token}:channel21", "ours")
        assert [b"ours"] == await seen.wait(1)


async def test_nothing_is_left_on_the_server(url: str, plain: Any, own_token: str) -> None:
    """When all have gone, no key, no channel and no pattern of theirs stays; claims end by themselves."""
    bus, seen = Bus(url), Seen()
    rival = Bus(url)
    for each in (bus, rival):

        @each.handler("todo.>", group="g", delivery="at-most-once")
        async def handle(number: int) -> int:
            seen.add(number)
            return number

        @each.listen("todo.*.x")
        async def listen(number: int) -> None: ...

    async with bus.running(), rival.running():
        await bus.publish_many("todo.a", range(20))
        await seen.wait(20)
        assert 7 == await bus.request("todo.b", 7, reply=int)
        await plain.publish(f"{own_token}:todo.a", "8")
        await seen.wait(22)
        claims = await plain.keys(f"{own_token}:pabal:claim:*")
        assert 21 == len(claims)
        assert all([0 < await plain.ttl(claim) <= 60 for claim in claims])
    left = await ours(plain, own_token)
    assert [] == [name for name in left if b":claim:" not in name]


async def test_a_single_member_claims_nothing(url: str, plain: Any, own_token: str) -> None:
    """Where every group has one member the publisher says so, and the server keeps no claim."""
    bus, seen = Bus(url), Seen()

    @bus.handler("todo.new", group="g", delivery="at-most-once")
    async def handle(number: int) -> None:
        seen.add(number)

    async with bus.running():
        await bus.publish_many("todo.new", range(50))
        assert list(range(50)) == await seen.wait(50)
        assert [] == await plain.keys(f"{own_token}:pabal:claim:*")


async def test_an_answer_to_a_claim_that_is_lost(url: str, plain: Any, own_token: str) -> None:
    """A claim that the server has granted, but whose answer was lost, is ours when we ask again with its token."""
    commands = Commands(Where(Address(url), ServerOptions()), name="test")
    await commands.open()
    try:
        keys = (f"{own_token}:claim:", f"{own_token}:lead")
        asked = [(b"me:1", b"a"), (b"me:1", b"a"), (b"you:1", b"a"), (b"you:1", b"b"), (b"me:2", b"b")]
        answers = [
            await commands.run(Script("claim"), keys, (60, 10, f"{own_token}:member:", b"me", token, id))
            for token, id in asked
        ]
        assert [b"1", b"1", b"0", b"1", b"0"] == answers
    finally:
        await commands.aclose()
        await plain.delete(*await plain.keys(f"{own_token}:*"))


async def test_a_thousand_requests_in_flight(url: str) -> None:
    """Two buses ask a thousand times each at once, and each gets its own answers on one subscription for all."""
    answering, asking = [Bus(url), Bus(url)], [Bus(url), Bus(url)]
    for bus in answering:

        @bus.handler("double", group="g", concurrency=50, delivery="at-most-once")
        async def double(number: int) -> int:
            return number * 2

    async with answering[0].running(), answering[1].running(), asking[0], asking[1]:
        got = await asyncio.gather(
            *(
                bus.request("double", who * 10_000 + n, reply=int, timeout=30)
                for who, bus in enumerate(asking)
                for n in range(1000)
            )
        )
    assert [2 * (who * 10_000 + n) for who in range(2) for n in range(1000)] == got


async def test_nobody_to_answer_is_known_at_once(url: str) -> None:
    """A request without anybody there fails at once, and leaves no dead letter."""
    async with Bus(url) as bus:
        async with asyncio.timeout(5):
            with pytest.raises(NoResponders):
                await bus.request("nobody", 1, timeout=60)
        assert [] == [letter async for letter in bus.dead_letters.list()]


async def test_gather_ends_when_all_have_answered(url: str) -> None:
    """It is known how many groups and listeners were asked, so that nobody waits for more."""
    bus = Bus(url)

    @bus.handler("who", group="a", delivery="at-most-once")
    async def one(body: None) -> str:
        return "one"

    @bus.listen("who")
    async def two(body: None) -> str:
        return "two"

    async with bus.running(), asyncio.timeout(10):
        assert {"one", "two"} == set(await bus.gather("who", None, reply=str, wait=60))


async def test_what_cannot_be_is_refused(url: str) -> None:
    """Order, a start and a delay are refused by name; at-most-once has to be permitted."""
    refused: list[tuple[dict[str, object], str]] = [
        ({"ordered": True, "delivery": "at-most-once"}, "order"),
        ({"start": "oldest", "delivery": "at-most-once"}, "start"),
        ({}, 'permit it with delivery="at-most-once"'),
    ]
    for options, why in refused:
        bus = Bus(url)
        bus.handler("a", group="g", **options)(_ignore)  # type: ignore[call-overload]
        with pytest.raises(CapabilityError, match=why):
            async with bus.running():
                pass
    async with Bus(url) as bus:
        with pytest.raises(CapabilityError, match="delay"):
            await bus.publish("a", 1, delay=1.0)


async def _ignore(body: bytes) -> None: ...


async def test_memory_is_bounded(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A group that stands still keeps no more than its overflow: the rest is undelivered, none is lost in silence."""
    transport = make_transport(url + "&overflow=50", clock=SystemClock())
    await transport.open()
    spilt: list[Delivery] = []

    async def undelivered(deliveries: list[Delivery], reason: Reason) -> None:
        assert reason in ("overflow", "abandoned")
        spilt.extend(deliveries)

    try:
        stuck = await transport.subscribe(Source("a", "g", on_undelivered=undelivered))  # type: ignore[arg-type]
        posts = [Post(_message()) for _ in range(60)]
        await transport.publish(posts)
        await until(lambda: len(spilt) == 10)
        await stuck.aclose()
        assert sorted(post.message.id for post in posts) == sorted(each.message.id for each in spilt)
    finally:
        await transport.aclose()


async def test_a_post_for_a_group_that_has_no_member(url: str) -> None:
    """Somebody who reads all patterns is not taken for the group: nobody gets it, and that is known."""
    transport = make_transport(url, clock=SystemClock())
    await transport.open()
    try:
        await transport.subscribe(Source(">", "other"))
        (receipt,) = await transport.publish([Post(_message(), group=GroupId("a", "gone"))])
        assert (False, 0) == (receipt.routed, receipt.receivers)
    finally:
        await transport.aclose()


async def test_readers_are_known_again_after_a_restart(start_redis: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A server that has forgotten everything is told again who reads what: routing and counting are as before."""
    server = start_redis(appendonly=False)
    buses, seen = [Bus(server.url("redis+pubsub")) for _ in range(2)], Seen()
    for bus in buses:

        @bus.handler("a.*", group="g", delivery="at-most-once")
        async def handle(number: int) -> None:
            seen.add(number)

    async with buses[0].running(), buses[1].running():
        with caplog.at_level(logging.INFO, "pabal.redis"):
            server.kill()
            await until(lambda: sum("was lost" in record.message for record in caplog.records) == 2)
            server.start()
            await until(lambda: sum("connected again" in record.message for record in caplog.records) == 2)
            plain: Any = Redis.from_url(server.url("redis"))
        async with plain:
            async with asyncio.timeout(10):
                while 2 != await plain.exists("pabal:groups:a.*", "pabal:patterns"):  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.001)
        receipts = await buses[0].publish_many("a.b", range(100))
        assert [1] * 100 == [receipt.receivers for receipt in receipts]
        assert list(range(100)) == sorted(await seen.wait(100))
        assert 0 == (await buses[1].publish("a.b.c", 1)).receivers
    assert 100 == len(seen)
