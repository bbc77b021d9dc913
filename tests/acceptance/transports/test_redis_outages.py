"""What becomes of messages while a Redis is not there: never a false success, and one line in the log."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pabal import Bus, ConnectionFailed, Context, PublishError, PublishTimeout
from pabal.model.clock import SystemClock, utc
from pabal.model.message import Message, new_id
from pabal.model.transport import Post, Source
from pabal.runtime.registry import make_transport
from pabal.transports.redis import line
from tests.acceptance.seen import Seen, until
from tests.servers.blackhole import Proxy
from tests.servers.plugin import Start

SCHEMES = ("redis+pubsub", "redis+streams")


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a sign of life counts as lost soon."""
    monkeypatch.setattr(line, "BEAT", 0.2)
    monkeypatch.setattr(line, "_LONGEST_SILENCE", 6.0)


def told(caplog: pytest.LogCaptureFixture, what: str) -> int:
    return sum(what in record.getMessage() for record in caplog.records)


async def test_a_killed_server_comes_back(start_redis: Start, scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    """Handlers, listeners and requests go on after a restart; the outage is one line, its end another."""
    server, seen, heard = start_redis(), Seen(), Seen()
    bus = Bus(server.url(scheme), dead_letters="memory://")

    @bus.handler("a", group="g", delivery="at-most-once")
    async def handle(number: int) -> int:
        seen.add(number)
        return -number

    @bus.listen("a")
    async def listen(number: int) -> None:
        heard.add(number)

    with caplog.at_level(logging.INFO, "pabal.redis"):
        async with bus.running():
            assert -1 == await bus.request("a", 1, reply=int)
            for number in (2, 3):
                caplog.clear()
                server.kill()
                await until(lambda: told(caplog, "the connection was lost"))
                with pytest.raises(PublishTimeout):
                    await bus.publish("a", 0, timeout=0.2)
                server.start()
                await until(lambda: told(caplog, "connected again"))
                receipt = await bus.publish("a", number)
                assert receipt.routed is not False
                await until(lambda: number in seen and number in heard)  # noqa: B023 - awaited in the round
                assert -1 == await bus.request("a", 1, reply=int)
                assert 1 == told(caplog, "the connection was lost") == told(caplog, "connected again")
    assert 0 not in seen


async def test_no_publish_is_a_false_success(start_redis: Start) -> None:
    """What publish took is in the stream after kill after kill; what it did not take is told."""
    server, taken, unsure = start_redis(), [], 0
    async with Bus(server.url("redis+streams"), dead_letters="memory://") as bus:
        stop = asyncio.Event()

        async def publish(who: int) -> None:
            nonlocal unsure
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    await bus.publish("ledger", f"{who}-{number}", timeout=0.5)
                except PublishError:
                    unsure += 1
                else:
                    taken.append(f"{who}-{number}")

        async with asyncio.TaskGroup() as tasks:
            for who in range(8):
                tasks.create_task(publish(who))
            for _ in range(3):
                before = len(taken)
                await until(lambda: len(taken) > before + 50)  # noqa: B023 - awaited in the round
                server.kill()
                server.start()
            before = len(taken)
            await until(lambda: len(taken) > before + 50)
            stop.set()
    bus, seen = Bus(server.url("redis+streams"), dead_letters="memory://"), Seen()

    @bus.handler("ledger", group="g")
    async def handle(text: str) -> None:
        seen.add(text)

    async with bus.running():
        await until(lambda: set(taken) <= set(seen))
    assert len(seen) <= len(taken) + unsure


async def test_a_frozen_server_is_waited_for(start_redis: Start, scheme: str) -> None:
    """A publish fails within its timeout and never reports a success; what was on its way may come once."""
    server, seen = start_redis(), Seen()
    bus = Bus(server.url(scheme), dead_letters="memory://")

    @bus.handler("a", group="g", delivery="at-most-once")
    async def handle(number: int) -> None:
        seen.add(number)

    async with bus.running():
        await bus.publish("a", 1)
        await seen.wait(1)
        server.freeze()
        started = time.monotonic()
        with pytest.raises(PublishTimeout):
            await bus.publish("a", 2, timeout=0.3)
        assert time.monotonic() - started < 5
        server.thaw()
        await bus.publish("a", 3)
        await until(lambda: 3 in seen)
    assert set(seen) <= {1, 2, 3}
    assert len(seen) == len(set(seen))


@pytest.mark.usefixtures("impatient")
async def test_a_black_hole_is_noticed(
    start_redis: Start, open_proxy: Callable[[int], Proxy], scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A network that swallows everything, without closing anything, counts as lost; then all goes on."""
    server, seen = start_redis(), Seen()
    proxy = open_proxy(server.port)
    bus = Bus(f"{scheme}://127.0.0.1:{proxy.port}?connect_timeout=1", dead_letters="memory://")

    @bus.handler("a", group="g", delivery="at-most-once")
    async def handle(number: int) -> None:
        seen.add(number)

    with caplog.at_level(logging.INFO, "pabal.redis"):
        async with bus.running():
            await bus.publish("a", 1)
            await seen.wait(1)
            proxy.stall()
            await until(lambda: told(caplog, "the connection was lost"))
            with pytest.raises(PublishTimeout):
                await bus.publish("a", 2, timeout=0.2)
            proxy.forward()
            await until(lambda: told(caplog, "connected again"))
            while 3 not in seen:  # one connection may notice later than another
                with suppress(PublishError, TimeoutError):
                    await bus.publish("a", 3, timeout=1.0)
                    async with asyncio.timeout(1):
                        await until(lambda: 3 in seen)
    assert told(caplog, "no sign of life for")


async def test_cut_connections_lose_no_entry(start_redis: Start, open_proxy: Callable[[int], Proxy]) -> None:
    """Every connection is reset again and again while a group works: each entry is handled."""
    server, seen = start_redis(), Seen()
    proxy = open_proxy(server.port)
    bus = Bus(f"redis+streams://127.0.0.1:{proxy.port}?lease=3", dead_letters="memory://")

    @bus.handler("a", group="g", concurrency=10)
    async def handle(number: int) -> None:
        await asyncio.sleep(0.001)
        seen.add(number)

    async with Bus(server.url("redis+streams"), dead_letters="memory://") as publisher, bus.running():
        for start in range(0, 1000, 100):
            await publisher.publish_many("a", range(start, start + 100))
            before = len(seen)
            await until(lambda: len(seen) > before)  # noqa: B023 - awaited in the round
            proxy.cut()
        await until(lambda: set(range(1000)) == set(seen))


async def test_memory_is_bounded_in_an_outage(start_redis: Start, scheme: str) -> None:
    """Publishes that nobody waits for any more do not pile up behind a frozen server."""
    server = start_redis()
    transport = make_transport(server.url(scheme), clock=SystemClock())
    await transport.open()
    try:
        server.freeze()
        body = b"x" * 1_000_000
        for _ in range(100):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await transport.publish([Post(_message(body))])
        writer = transport._commands._writer  # type: ignore[attr-defined]
        assert writer.transport.get_write_buffer_size() < 5_000_000
        server.thaw()
    finally:
        await transport.aclose()


async def test_closing_does_not_wait_for_a_server_that_is_gone(start_redis: Start, scheme: str) -> None:
    """A transport closes within seconds, whatever the server does."""
    server = start_redis()
    transport = make_transport(server.url(scheme), clock=SystemClock())
    await transport.open()
    await transport.subscribe(Source("a", "g"))
    await transport.subscribe(Source("a"))
    server.freeze()
    async with asyncio.timeout(30):
        await transport.aclose()
    server.thaw()
    with pytest.raises(ConnectionFailed):
        await transport.publish([Post(_message(b""))])


def _message(body: bytes) -> Message:
    return Message(id=new_id(), channel="a", body=body, time=utc(SystemClock.time()))


WORKER = """
import asyncio, os, sys
from pabal import Bus

bus = Bus(sys.argv[1], dead_letters="memory://")

@bus.handler("a", group="g", concurrency=5)
async def handle(number: int) -> None:
    print(number, flush=True)
    await asyncio.Event().wait()

asyncio.run(bus.run())
"""


async def test_a_killed_worker_loses_nothing(start_redis: Start, tmp_path: Path) -> None:
    """What a worker had in hand and ready when it was killed comes to another once its lease is over, as an attempt."""
    server, seen = start_redis(), Seen()
    url = server.url("redis+streams") + "?lease=1"
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    async with Bus(url, dead_letters="memory://") as bus:
        await bus.publish_many("a", range(50))
    worker = await asyncio.create_subprocess_exec(sys.executable, str(script), url, stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        in_hand = {int(await worker.stdout.readline()) for _ in range(5)}
    finally:
        worker.kill()
        await worker.wait()
    bus = Bus(url, dead_letters="memory://")

    @bus.handler("a", group="g")
    async def handle(number: int, context: Context) -> None:
        seen.add((number, context.attempt))

    async with bus.running():
        await seen.wait(50)
    assert set(range(50)) == {number for number, _ in seen}
    assert {2} == {attempt for number, attempt in seen if number in in_hand}
