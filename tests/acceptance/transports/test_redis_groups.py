"""Groups of Redis streams as an operator sees and removes them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from pabal import Bus, ConfigurationError, Message
from pabal.model.clock import SystemClock, utc
from pabal.model.outcome import Failure, Retried
from pabal.model.transport import GroupId, GroupStatus, Post, Settled, Source, Start
from pabal.runtime.registry import make_transport
from pabal.transports.redis import StreamsTransport
from tests.servers.legs import Given
from tests.servers.server import Server

GOING = GroupId("a", "going")


@pytest.fixture
def url(redis_server: Server | Given, own_token: str) -> str:
    return redis_server.url("redis+streams") + f"?prefix={own_token}:"


@pytest.fixture
async def plain(redis_server: Server | Given) -> AsyncIterator[Any]:
    """A client that knows nothing of pabal."""
    async with Redis.from_url(redis_server.url("redis")) as client:
        yield client


@pytest.fixture
async def transport(url: str) -> AsyncIterator[StreamsTransport]:
    opened = make_transport(url + "&lease=60", clock=SystemClock())
    assert isinstance(opened, StreamsTransport)
    await opened.open()
    yield opened
    await opened.aclose()


def message(number: int = 0) -> Message:
    return Message(id=f"{number}", channel="a", body=b"%d" % number, time=utc(SystemClock.time()))


async def begun(transport: StreamsTransport, *, start: Start | None = None, group: str = "going") -> None:
    """A group that nobody reads."""
    await (await transport.subscribe(Source("a", group, start=start))).aclose()


async def test_a_removed_group_leaves_all_it_had(url: str, transport: StreamsTransport, plain: Any) -> None:
    """In the hands of who died, waiting for a retry, given back, never delivered: each is a letter with its history."""
    await begun(transport)
    await transport.publish([Post(message(number)) for number in range(4)])
    reader = await transport.subscribe(Source("a", "going", window=2))
    tried, back = [*await reader.receive(1), *await reader.receive(1)]
    failure = Failure(utc(1.0), 1, "ValueError: no")
    await reader.settle([Settled(tried, Retried(60.0, failure))])
    await reader.aclose()
    token = url.partition("prefix=")[2]
    await plain.xreadgroup("going", "pabal-dead", {f"{token}a": ">"}, count=1)
    await transport.publish([Post(message(number)) for number in range(4, 250)])
    (status,) = await transport.groups()
    assert GroupStatus(source="a", name="going", ready=249, waiting=1, oldest=status.oldest) == status
    assert 250 == await transport.remove(GOING)
    assert [] == [each for each in await transport.groups() if each.source == "a"]
    assert [] == [key for key in await plain.keys(f"{token}*") if b"dead-letters" not in key]
    async with Bus(url, dead_letters="memory://") as bus:
        await bus.dead_letters.collect(wait=0.2)
        letters = {letter.message.id: letter async for letter in bus.dead_letters.list()}
    assert {str(number) for number in range(250)} == set(letters)
    assert {("removed", "a", "going")} == {(each.reason, each.source, each.group) for each in letters.values()}
    assert {tried.message.id: (failure,)} == {id: letter.attempts for id, letter in letters.items() if letter.attempts}
    assert back.message.id in letters


async def test_what_is_in_hand_keeps_a_group(transport: StreamsTransport, own_token: str, plain: Any) -> None:
    """A consumer of another client's that was heard of keeps its group from being removed, as a member does."""
    await plain.xgroup_create(f"{own_token}:a", "going", "0", mkstream=True)
    await transport.publish([Post(message())])
    await plain.xreadgroup("going", "somebody", {f"{own_token}:a": ">"})
    (status,) = await transport.groups()
    assert (0, 1, 1) == (status.ready, status.leased, status.members)
    with pytest.raises(ConfigurationError, match="has living members"):
        await transport.remove(GOING, discard=True)
    await plain.xgroup_delconsumer(f"{own_token}:a", "going", "somebody")
    assert 0 == await transport.remove(GOING)


async def test_a_group_that_others_made_is_removed(transport: StreamsTransport, own_token: str, plain: Any) -> None:
    """It keeps a stream from being trimmed as ours do: it is listed, and its backlog becomes dead letters."""
    await plain.xgroup_create(f"{own_token}:a", "going", "0", mkstream=True)
    await plain.xadd(f"{own_token}:a", {"item": "milk"})
    (status,) = await transport.groups()
    assert ("a", "going", 1) == (status.source, status.name, status.ready)
    assert 1 == await transport.remove(GOING)
    assert 0 == await plain.exists(f"{own_token}:a")


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_backlog_is_counted_where_the_server_cannot(
    transport: StreamsTransport, own_token: str, plain: Any, deleted: bool
) -> None:
    """After a start by time, or where somebody deleted an entry, Redis knows no lag: it is counted."""
    await transport.publish([Post(message(number)) for number in range(2500)])
    second = (await plain.xrange(f"{own_token}:a", count=2))[1][0]
    await plain.xgroup_create(f"{own_token}:a", "going", second)
    if deleted:
        await plain.xdel(f"{own_token}:a", (await plain.xrange(f"{own_token}:a", count=100))[99][0])
    (status,) = await transport.groups()
    assert 2498 - deleted == status.ready


async def test_only_the_last_group_takes_the_stream_along(
    transport: StreamsTransport, plain: Any, own_token: str
) -> None:
    """What another group or a listener has not read stays; a listener is no group of anybody's."""
    await begun(transport)
    await begun(transport, group="staying")
    listener = await transport.subscribe(Source("a", window=1))
    await transport.publish([Post(message(number)) for number in range(10)])
    assert 10 == await transport.remove(GOING, discard=True)
    assert ["staying"] == [status.name for status in await transport.groups()]
    assert 10 == await plain.xlen(f"{own_token}:a")
    assert 10 == await transport.remove(GroupId("a", "staying"), discard=True)
    numbers: list[bytes] = []
    while len(numbers) < 10:
        numbers += [each.message.body for each in await listener.receive(10)]
    assert [b"%d" % number for number in range(10)] == numbers


async def test_delayed_messages_wait_for_every_group(transport: StreamsTransport) -> None:
    """What is published for later waits, and is no part of a backlog: a group that comes later gets it, too."""
    await begun(transport)
    await transport.publish([Post(message(), due=SystemClock.time() + 60)])
    (status,) = await transport.groups()
    assert (0, 1) == (status.ready, status.waiting)
    assert 0 == await transport.remove(GOING)


async def test_the_group_of_the_dead_letters_is_not_removed(transport: StreamsTransport) -> None:
    """Its backlog would become dead letters in the channel that it reads, for ever: it is discarded or left."""
    await begun(transport)
    await transport.publish([Post(message())])
    assert 1 == await transport.remove(GOING)
    keeping = GroupId("dead-letters", "pabal")
    with pytest.raises(ConfigurationError, match="where its backlog would go"):
        await transport.remove(keeping)
    assert 1 == await transport.remove(keeping, discard=True)
