"""Peers that know nothing of pabal: redis-cli, a client for Node, and whoever reads CloudEvents."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from pabal import Bus, Message
from tests.acceptance.seen import Seen
from tests.acceptance.transports.nodes import NODE, installed
from tests.servers.legs import Given
from tests.servers.server import Server

HERE = Path(__file__).parent


@pytest.fixture
def at(redis_server: Server | Given) -> str:
    return redis_server.url("redis")


async def cli(at: str, *words: str) -> str:
    """What redis-cli answers."""
    found = shutil.which("redis-cli")
    if found is None:
        pytest.skip("redis-cli is not on this machine: it comes with Redis")
    ran = await asyncio.create_subprocess_exec(found, "-u", at, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    answer, _ = await ran.communicate()
    return answer.decode().strip()


class Node:
    """The client for Node, driven line by line."""

    def __init__(self, folder: Path, at: str) -> None:
        self._process = subprocess.Popen(
            [NODE, "client.mjs", at], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def tell(self, *line: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()

    async def said(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await asyncio.to_thread(self._process.stdout.readline))

    async def ask(self, *line: Any) -> Any:
        self.tell(*line)
        return await self.said()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client in it."""
    return installed(HERE / "node", tmp_path_factory.mktemp("node"))


@pytest.fixture
def node(node_client: Path, at: str) -> Iterator[Node]:
    client = Node(node_client, at)
    yield client
    client.close()


async def test_redis_cli_on_pubsub(at: str, own_token: str) -> None:
    """What ``PUBLISH`` sends is handled as it is, and what pabal publishes ``SUBSCRIBE`` shows as a CloudEvent."""
    bus, seen = Bus(at.replace("redis://", "redis+pubsub://")), Seen()

    @bus.handler(own_token, group="g", delivery="at-most-once")
    async def handle(body: bytes, message: Message) -> None:
        seen.add((body, message.content_type, message.type))

    async with bus.running():
        assert "1" == await cli(at, "PUBLISH", own_token, "ping")
        assert [(b"ping", None, own_token)] == await seen.wait(1)
        reading = await asyncio.create_subprocess_exec(
            shutil.which("redis-cli") or "", "-u", at, "SUBSCRIBE", own_token, stdout=subprocess.PIPE
        )
        try:
            assert reading.stdout is not None
            assert b"subscribe" == (await reading.stdout.readline()).strip()
            await reading.stdout.readline()
            await reading.stdout.readline()
            receipt = await bus.publish(own_token, {"item": "milk"})
            assert 2 == receipt.receivers
            assert b"message" == (await reading.stdout.readline()).strip()
            await reading.stdout.readline()
            event = json.loads(await reading.stdout.readline())
        finally:
            reading.terminate()
            await reading.wait()
        assert (receipt.id, own_token, {"item": "milk"}) == (event["id"], event["type"], event["data"])


async def test_redis_cli_on_streams(at: str, own_token: str) -> None:
    """What ``XADD`` adds is handled, field by field; what pabal adds ``XRANGE`` shows, and is left alone if wished."""
    url = at.replace("redis://", "redis+streams://") + "?trim=false"
    bus, seen = Bus(url, dead_letters="memory://"), Seen()
    first = await cli(at, "XADD", own_token, "*", "data", "ping")
    await cli(at, "XADD", own_token, "*", "item", "milk", "count", "2")

    @bus.handler(own_token, group="g")
    async def handle(body: bytes, message: Message) -> None:
        seen.add((body, message.content_type, message.id.partition("@")[0]))

    async with bus.running():
        plain, fields = await seen.wait(2)
        assert (b"ping", None, first) == plain
        assert (b'{"item":"milk","count":"2"}', "application/json") == fields[:2]
        receipt = await bus.publish(own_token, {"item": "milk"}, headers={"trace": "x"})
        await seen.wait(3)
        shown = (await cli(at, "XRANGE", own_token, "-", "+")).splitlines()
        written = dict(zip(shown[-4::2], shown[-3::2], strict=True))
        assert '{"item":"milk"}' == written["data"]
        event = json.loads(written["ce"])
        assert (receipt.id, own_token, {"trace": "x"}) == (event["id"], event["type"], event["pabalheaders"])
    await cli(at, "DEL", own_token)


async def test_a_node_client(node: Node, at: str, own_token: str) -> None:
    """A client of another language publishes and adds what is handled, and reads what pabal publishes and adds."""
    pubsub, streams = f"{own_token}-p", f"{own_token}-s"
    heard, handled = Seen(), Seen()
    lively = Bus(at.replace("redis://", "redis+pubsub://"))
    lasting = Bus(at.replace("redis://", "redis+streams://") + "?trim=false", dead_letters="memory://")

    @lively.handler(pubsub, group="g", delivery="at-most-once")
    async def hear(item: dict[str, str]) -> None:
        heard.add(item["item"])

    @lasting.handler(streams, group="g")
    async def handle(item: dict[str, str]) -> None:
        handled.add(item["item"])

    async with lively.running(), lasting.running():
        assert 1 == await node.ask("publish", pubsub, json.dumps({"item": "물"}))
        assert ["물"] == await heard.wait(1)
        assert await node.ask("add", streams, {"data": json.dumps({"item": "milk"})})
        assert ["milk"] == await handled.wait(1)
        assert "subscribed" == await node.ask("subscribe", pubsub)
        assert 2 == (await lively.publish(pubsub, {"item": "bread"})).receivers
        verb, text = await node.said()
        assert ("message", {"item": "bread"}) == (verb, json.loads(text)["data"])
        await lasting.publish(streams, {"item": "tea"})
        *_, last = await node.ask("range", streams)
        assert {"item": "tea"} == json.loads(last["message"]["data"])
    await cli(at, "DEL", streams)


async def test_cloudevents_of_the_official_sdk(at: str, own_token: str) -> None:
    """What the SDK writes is read with all its attributes, on both, and what pabal writes the SDK reads."""
    event = CloudEvent(
        attributes={
            "id": "sdk-1",
            "source": "/shop",
            "type": "com.example.order",
            "specversion": "1.0",
            "subject": "order 7",
            "datacontenttype": "application/json",
            "correlationid": "first",
        },
        data={"n": 7},
    )
    text = JSONFormat().write(event).decode()
    for scheme, send in (
        ("redis+pubsub", ("PUBLISH", own_token, text)),
        ("redis+streams", ("XADD", own_token, "*", "ce", text)),
    ):
        bus = Bus(
            at.replace("redis", scheme, 1) + "?trim=false" * (scheme == "redis+streams"), dead_letters="memory://"
        )
        seen = Seen()

        @bus.handler(own_token, group="g", delivery="at-most-once")
        async def handle(body: dict[str, int], message: Message) -> None:
            seen.add((body, message))  # noqa: B023 - of this round

        async with bus.running():
            await cli(at, *send)
            ((body, message),) = await seen.wait(1)
            assert {"n": 7} == body
            assert ("sdk-1", "/shop", "com.example.order") == (message.id, message.source, message.type)
            assert ("first", {"subject": "order 7"}) == (message.correlation_id, dict(message.attributes))
            if scheme == "redis+streams":
                receipt = await bus.publish(own_token, {"n": 8})
                shown = (await cli(at, "XRANGE", own_token, "-", "+")).splitlines()
                read = JSONFormat().read(CloudEvent, shown[-3])
                assert (receipt.id, own_token) == (read.get_id(), read.get_type())
            else:
                reading = await asyncio.create_subprocess_exec(
                    shutil.which("redis-cli") or "", "-u", at, "SUBSCRIBE", own_token, stdout=subprocess.PIPE
                )
                try:
                    assert reading.stdout is not None
                    for _ in range(3):
                        await reading.stdout.readline()
                    receipt = await bus.publish(own_token, {"n": 8})
                    for _ in range(2):
                        await reading.stdout.readline()
                    read = JSONFormat().read(CloudEvent, (await reading.stdout.readline()).decode())
                finally:
                    reading.terminate()
                    await reading.wait()
                assert (receipt.id, {"n": 8}) == (read.get_id(), read.get_data())
    await cli(at, "DEL", own_token)
