"""What is particular to NATS without JetStream: who is there is known at once, and what was taken is answered for."""

import asyncio
import json
import urllib.request

import pytest
from nats.aio.client import Client

from pabal import Backoff, Bus, CapabilityError, Message, NoResponders
from pabal.model.clock import SystemClock
from pabal.model.message import new_id
from pabal.model.transport import GroupId, Source
from pabal.runtime.registry import make_transport
from tests.acceptance.seen import Seen, letters, until
from tests.acceptance.transports.jetstreams import post
from tests.acceptance.transports.jetstreams import until as holds
from tests.servers.plugin import Start
from tests.servers.server import Server


async def test_groups_share_and_listeners_get_all(nats_url: str) -> None:
    """Two buses share a group's messages, and every listener gets each."""
    buses, shared, heard = [Bus(nats_url), Bus(nats_url)], Seen(), Seen()
    for bus in buses:

        @bus.handler("todo.*", group="save", delivery="at-most-once")
        async def save(number: int) -> None:
            shared.add(number)

        @bus.listen("todo.>")
        async def listen(number: int) -> None:
            heard.add(number)

    async with buses[0].running(), buses[1].running():
        receipts = await buses[0].publish_many("todo.new", range(300))
        assert [(True, None)] * 300 == [(receipt.routed, receipt.receivers) for receipt in receipts]
        assert sorted([*range(300), *range(300)]) == sorted(await heard.wait(600))
        assert list(range(300)) == sorted(await shared.wait(300))


async def test_nobody_there_is_told_for_each_message(nats_url: str) -> None:
    """Of a large batch each receipt tells the truth about its own channel, however they are mixed."""
    transport = make_transport(nats_url, clock=SystemClock())
    reader = make_transport(nats_url, clock=SystemClock())
    for each in (transport, reader):
        await each.open()
    await reader.subscribe(Source("todo.new", "save"))
    posts = [post("todo.new" if n % 3 else "todo.nobody", new_id()) for n in range(5000)]
    receipts = await transport.publish(posts)
    assert [bool(n % 3) for n in range(5000)] == [receipt.routed for receipt in receipts]
    for each in (transport, reader):
        await each.aclose()


async def test_whoever_has_subscribed_is_there(nats_url: str, plain: Client, own_token: str) -> None:
    """After subscribing, no publish of anybody else finds nobody: 500 times, by pabal and by a plain client."""
    reader, transport = (make_transport(nats_url, clock=SystemClock()) for _ in range(2))
    for each in (reader, transport):
        await each.open()
    for number in range(250):
        subscription = await reader.subscribe(Source(f"todo.n{number}", "save"))
        (receipt,) = await transport.publish([post(f"todo.n{number}", "a")])
        assert receipt.routed
        await plain.publish(f"{own_token}.todo.n{number}", b"plain")
        got = list(await subscription.receive(2))
        while len(got) < 2:
            got += await subscription.receive(2)
        assert {b"a", b"plain"} == {each.message.body for each in got}
        await subscription.aclose()
        (receipt,) = await transport.publish([post(f"todo.n{number}", "a")])
        assert not receipt.routed
    for each in (reader, transport):
        await each.aclose()


async def test_nobody_there_is_a_dead_letter(nats_url: str) -> None:
    """What nobody reads is a dead letter, unrouted, and a redrive reaches whoever reads by then."""
    async with Bus(nats_url) as bus:
        receipt = await bus.publish("todo.new", 1)
        assert (False, None) == (receipt.routed, receipt.receivers)
        (letter,) = await letters(bus)
        assert ("unrouted", None) == (letter.reason, letter.group)
        (stays,) = await bus.dead_letters.redrive([letter.id])
        assert "still nobody takes todo.new" == stays.error
    later, seen = Bus(nats_url), Seen()

    @later.handler("todo.new", group="save", delivery="at-most-once")
    async def save(message: Message) -> None:
        seen.add(message.id)

    async with later.running():
        await later.dead_letters.redrive([letter.id])
        assert [letter.message.id] == await seen.wait(1)


async def test_a_redrive_reaches_the_group_that_failed(nats_url: str) -> None:
    """Others of the channel pass it by, as does a listener."""
    bus, failing, others, good = Bus(nats_url, retry=Backoff(attempts=1)), Seen(), Seen(), asyncio.Event()

    @bus.handler("todo.new", group="save", delivery="at-most-once")
    async def save(number: int) -> None:
        if not good.is_set():
            raise ValueError("bad")
        failing.add(number)

    @bus.handler("todo.new", group="audit", delivery="at-most-once")
    async def audit(number: int) -> None:
        others.add(number)

    @bus.listen("todo.new")
    async def listen(number: int) -> None:
        others.add(number)

    async with bus.running():
        await bus.publish("todo.new", 1)
        (letter,) = await letters(bus)
        good.set()
        await bus.dead_letters.redrive([letter.id])
        assert [1] == await failing.wait(1)
        await bus.publish("todo.new", 2)
        assert [1, 1, 2, 2] == await others.wait(4)


async def test_what_does_not_fit_is_a_dead_letter(nats_url: str) -> None:
    """A reader that falls behind keeps so many messages and no more: the rest are dead letters, none is lost."""
    bus, seen, go = Bus(f"{nats_url}&overflow=50"), Seen(), asyncio.Event()

    @bus.handler("todo.new", group="save", delivery="at-most-once")
    async def save(number: int) -> None:
        await go.wait()
        seen.add(number)

    async with bus.running(), Bus(nats_url) as publisher:
        await publisher.publish_many("todo.new", range(300))
        await letters(bus, 1)
        go.set()
        await until(lambda: len(seen) >= 50)
    async with Bus(nats_url) as reading:
        dead = [letter async for letter in reading.dead_letters.list()]
    assert {"overflow"} <= {letter.reason for letter in dead} <= {"overflow", "abandoned"}
    assert list(range(300)) == sorted([*seen, *(int(letter.message.body) for letter in dead)])


async def test_what_waits_at_the_end_is_a_dead_letter(nats_url: str) -> None:
    """What a group's member had and did not handle when it was stopped, retries too, is abandoned and not lost."""
    bus, begun = Bus(nats_url, retry=Backoff(attempts=3, first=60.0), grace=0.1), Seen()

    @bus.handler("todo.new", group="save", delivery="at-most-once")
    async def save(number: int) -> None:
        begun.add(number)
        if number == 0:
            raise ValueError("later")
        await asyncio.Event().wait()

    async with bus.running(), Bus(nats_url) as publisher:
        await publisher.publish_many("todo.new", range(20))
        await begun.wait(2)
    async with Bus(nats_url) as reading:
        dead = await letters(reading, 20)
    assert {"abandoned"} == {letter.reason for letter in dead}
    assert list(range(20)) == sorted(int(letter.message.body) for letter in dead)
    assert 1 == sum(len(letter.attempts) for letter in dead if letter.message.body == b"0")


async def test_a_member_that_drains_takes_nothing_from_the_others(start_nats: Start) -> None:
    """While its last handler ends, what comes goes to the living members; it can be made to read again."""
    server = start_nats()
    transports = [make_transport(server.url("nats"), clock=SystemClock()) for _ in range(2)]
    for each in transports:
        await each.open()
    draining, living = [await each.subscribe(Source("a", "g")) for each in transports]
    await has_subscriptions(server, 4)
    draining.resize(0)
    await has_subscriptions(server, 3)
    sent = [post("a", new_id()) for _ in range(100)]
    assert [True] * 100 == [receipt.routed for receipt in await transports[0].publish(sent)]
    got: list[str] = []
    while len(got) < 100:
        got += [delivery.message.id for delivery in await living.receive(100)]
    assert {each.message.id for each in sent} == set(got)
    draining.resize(1)
    await has_subscriptions(server, 4)
    living.resize(0)
    await has_subscriptions(server, 3)
    await transports[1].publish(sent[:1])
    assert [sent[0].message.id] == [delivery.message.id for delivery in await draining.receive(1)]
    for each in transports:
        await each.aclose()


async def test_requests_find_their_way(start_nats: Start) -> None:
    """Nobody there is told at once, a thousand at a time get their own answers, and nothing is left on the server."""
    server = start_nats()
    url = server.url("nats")
    bus = Bus(url)

    @bus.handler("todo.count", group="count", delivery="at-most-once")
    async def count(number: int) -> int:
        return number * 2

    async with Bus(url) as asker:
        async with bus.running():
            with pytest.raises(NoResponders):
                await asker.request("todo.nobody", 1, reply=int, timeout=30.0)
            answers = await asyncio.gather(
                *(asker.request("todo.count", n, reply=int, timeout=30.0) for n in range(1000))
            )
            assert [2 * n for n in range(1000)] == answers
            await has_subscriptions(server, 3)
        await has_subscriptions(server, 1)
    with pytest.raises(CapabilityError):
        async with Bus(url) as late:
            await late.publish("todo.new", 1, delay=1.0)


async def has_subscriptions(server: Server, count: int) -> None:
    """Wait until clients have so many subscriptions at a server: it counts those of a closed one for a moment."""

    def ask() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.place.ports['monitor']}/connz?subs=1") as answer:
            return sum(len(each.get("subscriptions_list") or ()) for each in json.loads(answer.read())["connections"])

    async def has() -> bool:
        return await asyncio.to_thread(ask) == count

    await holds(has)


async def test_a_post_for_a_group_that_is_not_there(nats_url: str) -> None:
    """NATS knows of readers and not of groups: a redrive to one that is gone is told when nobody at all reads."""
    transport = make_transport(nats_url, clock=SystemClock())
    await transport.open()
    (receipt,) = await transport.publish([post("todo.new", "a", group=GroupId("todo.new", "gone"), redrive=1)])
    assert receipt.routed is False
    await transport.aclose()
