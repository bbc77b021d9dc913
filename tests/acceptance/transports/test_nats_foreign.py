"""Peers that know nothing of pabal: a plain client in Python, one for Node, and whoever writes CloudEvents."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from nats.aio.client import Client
from nats.aio.msg import Msg

from pabal import Bus, Context, Message
from tests.acceptance.seen import PATIENCE, Seen
from tests.acceptance.transports.jetstreams import subscribed
from tests.acceptance.transports.nodes import NODE, installed
from tests.servers.legs import Given
from tests.servers.server import Server

HERE = Path(__file__).parent


class Node:
    """The client for Node, driven line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    async def ask(self, *line: Any) -> Any:
        self._in.write(json.dumps(line).encode() + b"\n")
        return await self.said()

    async def said(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return json.loads(await self._out.readline())


@pytest.fixture(scope="module")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client in it."""
    return installed(HERE / "node_nats", tmp_path_factory.mktemp("node_nats"))


@pytest.fixture
async def node(node_client: Path, nats_server: Server | Given) -> AsyncIterator[Node]:
    process = await asyncio.create_subprocess_exec(
        NODE, "client.mjs", nats_server.url("nats"), cwd=node_client, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    yield Node(process)
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


@pytest.fixture(params=["nats", "jetstream"])
def scheme(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
async def reading(scheme: str, nats_server: Server | Given, own_token: str) -> AsyncIterator[tuple[Bus, Seen]]:
    """A bus that runs, and the messages that its group on all channels sees."""
    bus, seen = Bus(nats_server.url(scheme), name="shop"), Seen()

    @bus.handler(f"{own_token}.>", group="save", delivery="at-most-once")
    async def save(body: bytes, message: Message, context: Context) -> None:
        seen.add((body, message, context.attempt))

    async with bus.running():
        yield bus, seen


async def test_what_a_plain_client_publishes_is_handled(
    reading: tuple[Bus, Seen], plain: Client, own_token: str
) -> None:
    """As it is: the body, its headers, a type that is the channel, and an id of its own."""
    _, seen = reading
    await plain.publish(f"{own_token}.new", b"ping")
    await plain.publish(f"{own_token}.new", b"{}", headers={"Content-Type": "application/json", "trace": "abc"})
    (ping, first, attempt), (_, second, _) = await seen.wait(2)
    assert (b"ping", {}, None, f"{own_token}.new", 1) == (ping, first.headers, first.content_type, first.type, attempt)
    assert ({"trace": "abc"}, "application/json") == (second.headers, second.content_type)
    assert first.id != second.id
    assert first.reply_to is None


async def test_a_plain_client_reads_what_pabal_publishes(
    reading: tuple[Bus, Seen], plain: Client, own_token: str
) -> None:
    """The body is the body, and the attributes stand in headers as CloudEvents has them for NATS."""
    bus, _ = reading
    subscription = await subscribed(plain, f"{own_token}.>")
    receipt = await bus.publish(f"{own_token}.new", {"item": "우유"}, key="a b", headers={"trace": "x y"})
    message = await subscription.next_msg(5)
    assert {"item": "우유"} == json.loads(message.data)
    headers = dict(message.headers or {})
    assert (receipt.id, "1.0", "shop", f"{own_token}.new") == tuple(
        headers[f"ce-{name}"] for name in ("id", "specversion", "source", "type")
    )
    assert ("a%20b", "x y", "application/json") == tuple(
        headers[name] for name in ("ce-partitionkey", "trace", "content-type")
    )


async def test_the_position_is_the_id(nats_server: Server | Given, plain: Client, own_token: str) -> None:
    """JetStream: a plain message's id derives from its position, so that it is the same at each delivery and group."""
    bus, seen = Bus(nats_server.url("jetstream")), Seen()
    for group in ("one", "two"):

        @bus.handler(f"{own_token}.new", group=group)
        async def handle(message: Message, context: Context) -> None:
            seen.add((message.id, context.attempt))
            if context.attempt == 1:
                raise ValueError("again")

    async with bus.running():
        await plain.publish(f"{own_token}.new", b"ping")
        got = await seen.wait(4)
    assert 1 == len({id for id, _ in got})
    assert [1, 1, 2, 2] == sorted(attempt for _, attempt in got)


async def test_plain_requests_are_answered(nats_server: Server | Given, plain: Client, own_token: str) -> None:
    """A plain client's request is answered by the handler's result, and a plain responder answers pabal's."""
    bus = Bus(nats_server.url("nats"))

    @bus.handler(f"{own_token}.count", group="count", delivery="at-most-once")
    async def count(number: int) -> int:
        return number + 1

    async def respond(message: Msg) -> None:
        await message.respond(b'{"theirs": true}')

    await subscribed(plain, f"{own_token}.theirs", cb=respond)
    async with bus.running():
        assert b"8" == (await plain.request(f"{own_token}.count", b"7")).data
        assert {"theirs": True} == await bus.request(f"{own_token}.theirs", 1, reply=dict[str, bool])


async def test_a_stream_is_not_who_answers(nats_server: Server | Given, plain: Client, own_token: str) -> None:
    """JetStream acknowledges all that comes on a stream's subjects with a reply subject; a request goes on waiting."""
    await plain.jetstream().add_stream(name=own_token, subjects=[f"{own_token}.>"])
    bus = Bus(nats_server.url("nats"))

    @bus.handler(f"{own_token}.count", group="count", delivery="at-most-once")
    async def count(number: int) -> int:
        await plain.request(f"{own_token}.other", b"")  # by now the stream has answered
        return number + 1

    async with bus.running():
        assert 8 == await bus.request(f"{own_token}.count", 7, reply=int)
        assert [8] * 20 == [await bus.request(f"{own_token}.count", 7, reply=int) for _ in range(20)]
    await plain.jetstream().delete_stream(own_token)


async def test_a_probe_is_no_request(reading: tuple[Bus, Seen], plain: Client, own_token: str) -> None:
    """What a bus publishes has a reply subject for the server's own answer: no reader takes it for a request."""
    bus, seen = reading
    subscription = await subscribed(plain, f"{own_token}.>")
    await bus.publish(f"{own_token}.new", 1)
    message = await subscription.next_msg(5)
    assert message.reply
    ((_, got, _),) = await seen.wait(1)
    assert got.reply_to is None


async def test_node_is_a_peer(reading: tuple[Bus, Seen], node: Node, own_token: str) -> None:
    """A client for Node publishes what pabal handles, and reads what pabal publishes."""
    bus, seen = reading
    await node.ask("subscribe", f"{own_token}.out")
    await node.ask("publish", f"{own_token}.in", '{"from": "node"}', {"Content-Type": "application/json", "trace": "1"})
    ((body, message, _),) = await seen.wait(1)
    assert (b'{"from": "node"}', {"trace": "1"}) == (body, message.headers)
    receipt = await bus.publish(f"{own_token}.out", {"from": "pabal — 파발"})
    said, subject, text, headers = await node.said()
    assert ("message", f"{own_token}.out", {"from": "pabal — 파발"}) == (said, subject, json.loads(text))
    assert (receipt.id, f"{own_token}.out") == (headers["ce-id"], headers["ce-type"])


async def test_node_stores_and_fetches(nats_server: Server | Given, node: Node, own_token: str) -> None:
    """JetStream: Node's publish is acknowledged and known again by its id, and Node fetches what pabal published."""
    bus, seen = Bus(nats_server.url("jetstream")), Seen()

    @bus.handler(f"{own_token}.in", group="save")
    async def save(body: str, message: Message) -> None:
        seen.add(body)

    async with bus.running():
        await bus.publish(f"{own_token}.out", {"n": 1})
        event = {"Nats-Msg-Id": "n1", "ce-id": "n1", "ce-specversion": "1.0", "ce-source": "node", "ce-type": "t"}
        said, first, duplicate = await node.ask("store", f"{own_token}.in", "hello", event)
        assert ("stored", False) == (said, duplicate)
        assert ["stored", first, True] == await node.ask("store", f"{own_token}.in", "hello", event)
        assert ["hello"] == await seen.wait(1)
        assert ["message", f"{own_token}.out", '{"n":1}'] == await node.ask("fetch", f"{own_token}.out")


async def test_node_asks(nats_server: Server | Given, node: Node, own_token: str, scheme: str) -> None:
    """Node's request is answered; with JetStream under the token for requests."""
    bus = Bus(nats_server.url(scheme))

    @bus.handler(f"{own_token}.count", group="count", delivery="at-most-once")
    async def count(number: int) -> int:
        return number + 1

    async with bus.running():
        subject = f"{own_token}.count" if scheme == "nats" else f"pabal-requests.{own_token}.count"
        assert ["answer", "42"] == (await node.ask("request", subject, "41"))[:2]


async def test_cloudevents_of_the_sdk(reading: tuple[Bus, Seen], plain: Client, own_token: str) -> None:
    """What the official SDK writes is read, in binary mode and in structured mode, and what pabal writes it reads."""
    bus, seen = reading
    event = CloudEvent(
        {"id": "e 1", "source": "/sdk/ü", "type": "com.example.sold", "datacontenttype": "application/json"}, {"n": 1}
    )
    for written in (http.to_binary(event, JSONFormat()), http.to_structured(event, JSONFormat())):
        await plain.publish(f"{own_token}.in", written.body, headers=dict(written.headers))
    for body, message, _ in await seen.wait(2):
        assert {"n": 1} == json.loads(body)
        assert ("e 1", "/sdk/ü", "com.example.sold") == (message.id, message.source, message.type)
    subscription = await subscribed(plain, f"{own_token}.out")
    receipt = await bus.publish(f"{own_token}.out", {"n": "é"}, key="schlüssel")
    got = await subscription.next_msg(5)
    read = http.from_binary(http.HTTPMessage(dict(got.headers or {}), got.data), JSONFormat())
    assert (receipt.id, "shop", f"{own_token}.out", "schlüssel") == (
        read.get_id(),
        read.get_source(),
        read.get_type(),
        read.get_extension("partitionkey"),
    )
    assert {"n": "é"} == read.get_data()
