"""NATS that is killed, frozen or cut off, with JetStream or without: no success that was none, and all resumes."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pabal import Bus, Context, PublishError, PublishTimeout
from pabal.model.clock import SystemClock
from pabal.model.transport import Post, Source
from pabal.runtime.registry import make_transport
from tests.acceptance.seen import Seen, until
from tests.acceptance.transports.jetstreams import post
from tests.servers.blackhole import Proxy
from tests.servers.plugin import Start

OpenProxy = Callable[[int], Proxy]


@pytest.fixture(params=["nats", "jetstream"])
def scheme(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def numbers(url: str) -> tuple[Bus, Seen]:
    """A bus whose group sees numbers."""
    bus, seen = Bus(url), Seen()

    @bus.handler("todo.new", group="save", delivery="at-most-once", concurrency=4)
    async def save(number: int) -> None:
        seen.add(number)

    return bus, seen


async def arrives(bus: Bus, seen: Seen, number: int) -> None:
    """A message goes through once the connections are there again; until then NATS itself may lose it."""
    async with asyncio.timeout(30):
        while number not in seen:
            with suppress(PublishError, TimeoutError):
                await bus.publish("todo.new", number, timeout=5.0)
                async with asyncio.timeout(1.0):
                    await seen.wait(len(seen) + 1)


async def test_a_publish_while_the_server_is_down_fails(start_nats: Start, scheme: str) -> None:
    """It fails within its timeout, typed, and all resumes by itself when the server is back."""
    server = start_nats()
    bus, seen = numbers(server.url(scheme))
    async with bus.running():
        await arrives(bus, seen, 1)
        await asyncio.to_thread(server.kill)
        async with asyncio.timeout(3):
            with pytest.raises(PublishError):
                await bus.publish("todo.new", 2, timeout=0.5)
        with pytest.raises(PublishError):
            await bus.publish_many("todo.new", [3, 4], timeout=0.5)
        await asyncio.to_thread(server.start)
        await arrives(bus, seen, 5)


async def test_a_frozen_server_is_no_success(start_nats: Start, scheme: str) -> None:
    """What a frozen server did not answer for fails within its timeout; when it goes on, so does the bus."""
    server = start_nats()
    bus, seen = numbers(server.url(scheme))
    async with bus.running():
        await arrives(bus, seen, 1)
        await asyncio.to_thread(server.freeze)
        async with asyncio.timeout(3):
            with pytest.raises(PublishTimeout):
                await bus.publish("todo.new", 2, timeout=0.5)
        await asyncio.to_thread(server.thaw)
        await arrives(bus, seen, 3)


async def test_a_black_hole_is_no_success(start_nats: Start, open_proxy: OpenProxy, scheme: str) -> None:
    """A connection on which nothing passes is no success either; once it passes again, so do messages."""
    server = start_nats()
    proxy = open_proxy(server.port)
    bus, seen = numbers(server.url(scheme, port=proxy.port))
    async with bus.running():
        await arrives(bus, seen, 1)
        proxy.stall()
        async with asyncio.timeout(3):
            with pytest.raises(PublishTimeout):
                await bus.publish("todo.new", 2, timeout=0.5)
        proxy.forward()
        await arrives(bus, seen, 3)


async def test_a_dead_connection_is_noticed(start_nats: Start, open_proxy: OpenProxy) -> None:
    """A connection on which nothing ever passes again is given up for a new one, also by who only reads."""
    server = start_nats()
    proxy = open_proxy(server.port)
    bus, seen = numbers(server.url("jetstream", port=proxy.port))
    async with bus.running(), Bus(server.url("jetstream")) as other:
        await arrives(bus, seen, 1)
        proxy.stall(requests=False)
        before = proxy.accepted
        async with asyncio.timeout(30):
            await until(lambda: proxy.accepted > before)
            proxy.forward()
            await arrives(other, seen, 2)


async def fifty_more(taken: set[int]) -> None:
    """Wait for as many publishes."""
    enough = len(taken) + 50
    await until(lambda: len(taken) >= enough)


async def test_many_cut_connections_lose_nothing(start_nats: Start, open_proxy: OpenProxy) -> None:
    """JetStream: while connections are cut again and again, whatever was said to be taken is handled."""
    server = start_nats()
    proxy = open_proxy(server.port)
    bus, seen = numbers(server.url("jetstream", port=proxy.port) + "?lease=2")
    taken: set[int] = set()
    over = asyncio.Event()

    async def publish() -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                await bus.publish("todo.new", number, timeout=2.0)
                taken.add(number)
            except PublishError:
                await asyncio.sleep(0)

    async with bus.running():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish())
            for _ in range(5):
                await fifty_more(taken)
                proxy.cut()
            over.set()
        await until(lambda: taken <= set(seen))


async def test_a_killed_server_loses_nothing_that_it_took(start_nats: Start) -> None:
    """JetStream: a server that is killed again and again has whatever it said to have taken."""
    server = start_nats()
    bus, seen = numbers(server.url("jetstream") + "?lease=2")
    taken: set[int] = set()
    over = asyncio.Event()

    async def publish() -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                await bus.publish("todo.new", number, timeout=5.0)
                taken.add(number)
            except PublishError:
                await asyncio.sleep(0)

    async with bus.running():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish())
            for _ in range(3):
                await fifty_more(taken)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            over.set()
        await until(lambda: taken <= set(seen))


async def test_a_batch_that_was_cut_in_two_is_no_success(start_nats: Start, open_proxy: OpenProxy) -> None:
    """Of a batch in whose middle the connection was lost and came back, nothing is told to be taken that was not."""
    server = start_nats()
    proxy = open_proxy(server.port)
    reader = make_transport(server.url("nats"), clock=SystemClock())
    publisher: Any = make_transport(server.url("nats", port=proxy.port), clock=SystemClock())
    for each in (reader, publisher):
        await each.open()
    subscription = await reader.subscribe(Source("a", "save"))
    posts = [Post(replace(post("a", f"m{n}").message, body=b"x" * 200_000)) for n in range(100)]
    proxy.stall()
    publishing = asyncio.create_task(publisher.publish(posts))
    client = publisher._connection.client
    await until(lambda: client._flush_queue.qsize() and client.pending_data_size)
    proxy.cut()
    proxy.forward()
    async with asyncio.timeout(20):
        receipts = await publishing
    (last,) = await publisher.publish([post("a", "last")])
    assert last.routed
    got: set[str] = set()
    async with asyncio.timeout(20):
        while last.id not in got:
            got |= {each.message.id for each in await subscription.receive(100)}
    assert set() == {receipt.id for receipt in receipts if receipt.error is None} - got
    for each in (reader, publisher):
        await each.aclose()


WORKER = """
import asyncio, sys
from pabal import Bus
bus = Bus(sys.argv[1])
@bus.handler("todo.new", group="save", concurrency=3)
async def save(number: int) -> None:
    print(number, flush=True)
    await asyncio.Event().wait()
asyncio.run(bus.run())
"""


async def test_what_a_killed_worker_had_comes_again(start_nats: Start, tmp_path: Path) -> None:
    """JetStream: what a worker had in hand or ready when it was killed comes to another one when its lease is over."""
    server = start_nats()
    url = server.url("jetstream") + "?lease=2"
    async with Bus(url) as bus:
        await bus.publish_many("todo.new", range(8))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, url, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    begun = [int(await process.stdout.readline()) for _ in range(3)]
    process.kill()
    await process.wait()
    killed = asyncio.get_running_loop().time()
    other, seen = Bus(url), Seen()

    @other.handler("todo.new", group="save")
    async def save(number: int, context: Context) -> None:
        seen.add((number, context.attempt))

    async with other.running():
        attempts = dict(await seen.wait(8))
    assert list(range(8)) == sorted(attempts)
    assert {2} == {attempts[number] for number in begun}
    assert asyncio.get_running_loop().time() - killed < 2 * 2


async def test_memory_is_bounded_in_an_outage(start_nats: Start, scheme: str) -> None:
    """Publishes, requests and answers that nobody waits for any more do not pile up behind a frozen server."""
    server = start_nats()
    transport: Any = make_transport(server.url(scheme), clock=SystemClock())
    await transport.open()
    try:
        await transport.publish([post("a", "0")])
        server.freeze()
        large = Post(replace(post("a", "1").message, body=b"x" * 500_000))
        for _ in range(100):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await transport.publish([large])
        question = replace(large.message, reply_to=f"{await transport.replies(lambda to, answer: None)}.1")
        for _ in range(100):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await transport.request(question)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await transport.reply(replace(large.message, channel="_INBOX.a"))
        client = transport._connection.client
        assert client.pending_data_size < 5_000_000
        server.thaw()
        async with asyncio.timeout(30):
            await transport.publish([post("a", "2")])
    finally:
        await transport.aclose()


async def test_requests_go_on_after_an_outage(start_nats: Start, scheme: str) -> None:
    """Requests are answered again once the server is back, without anybody doing anything."""
    server = start_nats()
    bus = Bus(server.url(scheme))

    @bus.handler("todo.count", group="count", delivery="at-most-once")
    async def count(number: int) -> int:
        return number + 1

    async with bus.running():
        assert 2 == await bus.request("todo.count", 1, reply=int)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert 3 == await bus.request("todo.count", 2, reply=int, timeout=15.0)
