"""A cluster of NATS: a stream on three servers goes on with two of them, and one server's alone is told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pabal import Bus, PublishError
from pabal.model.transport import Source
from tests.acceptance.seen import Seen, until
from tests.acceptance.transports.jetstreams import opened, post
from tests.servers.guard import Guard
from tests.servers.plugin import Start
from tests.servers.ports import LOOPBACK, Port
from tests.servers.server import Server


@pytest.fixture
async def cluster(start_nats: Start, guard: Guard, tmp_path: Path) -> AsyncIterator[list[Server]]:
    """Three servers, which are ready once they have found each other."""
    assert guard  # pytest makes fixtures in no other thread
    ports = [Port() for _ in range(3)]
    routes = [f"nats://{LOOPBACK}:{port.number}" for port in ports]
    settings = [
        {
            "server_name": f"n{number}",
            "cluster": {"name": "test", "listen": f"{LOOPBACK}:{port.number}", "routes": routes},
            "jetstream": {"store_dir": str(tmp_path / f"n{number}")},
        }
        for number, port in enumerate(ports)
    ]
    yield await asyncio.gather(*(asyncio.to_thread(start_nats, settings=each) for each in settings))
    for port in ports:
        port.close()


async def test_a_server_of_three_may_go(cluster: list[Server]) -> None:
    """With replicas=3, what was told to be taken is handled while one server after another is killed and comes back."""
    url = "jetstream://" + ",".join(f"{LOOPBACK}:{server.port}" for server in cluster) + "?replicas=3&lease=3"
    bus, seen = Bus(url), Seen()
    taken: set[int] = set()
    over = asyncio.Event()

    @bus.handler("todo.new", group="save", concurrency=4)
    async def save(number: int) -> None:
        seen.add(number)

    async def publish() -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                await bus.publish("todo.new", number, timeout=5.0)
                taken.add(number)
            except PublishError:
                await asyncio.sleep(0.01)

    async def fifty_more() -> None:
        enough = len(taken) + 50
        await until(lambda: len(taken) >= enough)

    async with bus.running():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish())
            try:
                for server in cluster[:2]:
                    await fifty_more()
                    await asyncio.to_thread(server.kill)
                    await fifty_more()
                    await asyncio.to_thread(server.start)
            finally:
                over.set()
        await until(lambda: taken <= set(seen))


async def test_one_copy_in_a_cluster_is_told(cluster: list[Server]) -> None:
    """The doctor says that streams are made on one server alone, and which are."""
    transport = await opened(cluster[0].url("jetstream"))
    await transport.publish([post("todo.new", "a")])
    await transport.subscribe(Source("todo.new", "save"))
    alone = [f"the stream {name} is on one server of the cluster alone" for name in ("pabal-todo", "KV_pabal-failures")]
    made = "streams are made on one server of the cluster alone; replicas=3 makes copies"
    assert [made, *alone] == [each.text for each in await transport.findings() if each.level == "weak"]
    await transport.aclose()
    copied = await opened(cluster[0].url("jetstream") + "?replicas=3")
    await copied.publish([post("shop.new", "a")])
    reader = await copied.subscribe(Source("shop.new", "save"))
    assert ["a"] == [each.message.id for each in await reader.receive(1)]
    assert alone == [each.text for each in await copied.findings() if each.level == "weak"]
    await copied.aclose()
