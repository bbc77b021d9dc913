"""JetStream with less room than usual, or out of sight: what is asked fits it, and nothing hangs or is lost."""

import asyncio
from pathlib import Path

import pytest
from nats.aio.client import Client

from pabal import Backoff, Bus, Context
from pabal.model.clock import SystemClock
from pabal.model.outcome import ACKED, Settlement
from pabal.model.transport import GroupId, Settled, Source
from pabal.transports.nats import JetStreamTransport
from tests.acceptance.seen import Seen
from tests.acceptance.transports.jetstreams import api, make, opened, post, take, until
from tests.servers.plugin import Start


async def test_a_server_may_limit_what_is_asked_at_once(start_nats: Start, tmp_path: Path) -> None:
    """A window that is larger than a server's limit of one request is filled by several."""
    server = start_nats(settings={"jetstream": {"store_dir": str(tmp_path), "limits": {"max_request_batch": 7}}})
    bus, seen = Bus(server.url("jetstream")), Seen()

    @bus.handler("todo.new", group="save", concurrency=20)
    async def save(number: int) -> None:
        seen.add(number)
        async with asyncio.timeout(10):
            await seen.wait(20)

    @bus.listen("todo.new")
    async def listen(number: int) -> None:
        seen.add(-number)

    async with bus.running():
        await bus.publish_many("todo.new", range(1, 21))
        assert sorted([*range(1, 21), *range(-20, 0)]) == sorted(await seen.wait(40))


async def test_failures_fit_a_small_server(start_nats: Start) -> None:
    """However long its tracebacks and texts are, a failure is kept where the server takes small messages alone."""
    server = start_nats(settings={"max_payload": 8192, "max_pending": 65536})
    bus, seen = Bus(server.url("jetstream"), retry=Backoff(attempts=8, first=0.0)), Seen()

    def deep(depth: int) -> None:
        if depth == 0:
            raise ValueError("é" * 20_000)
        deep(depth - 1)

    @bus.handler("todo.new", group="save")
    async def save(number: int, context: Context) -> None:
        seen.add(context.attempt)
        deep(30)

    async with bus.running():
        await bus.publish("todo.new", 1)
        assert list(range(1, 9)) == await seen.wait(8)
        transport = await opened(server.url("jetstream"))
        (buried,) = await take(await transport.subscribe(Source("dead-letters", "test", start="oldest")), 1)
        assert b"1" == buried.message.body
        await transport.aclose()
    assert 8 == len(seen)


async def test_who_leaves_in_an_outage_is_gone(start_nats: Start) -> None:
    """A subscription that is closed while the server is away lives no more when that is back, nor takes requests."""
    server = start_nats()
    transport = await opened(server.url("jetstream"))
    reader = await transport.subscribe(Source("todo.new", "save"))
    await asyncio.to_thread(server.kill)

    async def is_lost() -> bool:
        return not transport._connection.is_connected

    await until(is_lost)
    await reader.aclose()
    await asyncio.to_thread(server.start)
    await transport.publish([post("todo.new", "a")])
    other = await opened(server.url("jetstream"))
    (group,) = await other.groups()
    assert 0 == group.members
    await other.remove(GroupId("todo.new", "save"), discard=True)
    await other.aclose()
    await transport.aclose()


async def test_what_no_consumer_answers_for_is_not_known(
    jetstream: JetStreamTransport, plain: Client, own_token: str
) -> None:
    """An acknowledgement that reaches no consumer is no success."""
    await make(plain, f"theirs{own_token}", f"{own_token}.todo.new")
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    await jetstream.publish([post("todo.new", "a"), post("todo.new", "b")])
    got = await take(reader, 2)
    await api(plain, f"STREAM.DELETE.theirs{own_token}")
    assert [Settlement.UNKNOWN] * 2 == list(await reader.settle([Settled(each, ACKED) for each in got]))


async def test_what_is_due_later_is_removed_too(jetstream_url: str) -> None:
    """A group that is removed leaves dead letters of what nobody has had yet because it is due later."""
    transport = await opened(f"{jetstream_url}&lease=1")
    reader = await transport.subscribe(Source("todo.new", "going"))
    await reader.aclose()
    later = SystemClock().time() + 3600
    await transport.publish([post("todo.new", "now"), post("todo.new", "later", due=later)])
    assert 2 == await transport.remove(GroupId("todo.new", "going"))
    buried = await take(await transport.subscribe(Source("dead-letters", "test", start="oldest")), 2)
    assert {b"now", b"later"} == {each.message.body for each in buried}
    await transport.aclose()


WEAK = {
    "the oldest goes": ({"max_msgs": 10, "discard": "old"}, "drops its oldest messages when it is full (max_msgs=10"),
    "the oldest of each": (
        {"max_msgs_per_subject": 1, "discard": "old"},
        "drops its oldest messages when it is full (max_msgs_per_subject=1",
    ),
    "time": ({"max_age": 60_000_000_000, "discard": "new"}, "drops messages after 60 s (max_age), handled or not"),
    "interest": ({"retention": "interest"}, "drops what no consumer takes at that moment"),
    "one group": ({"retention": "workqueue"}, "hands each message to one consumer"),
    "silent": ({"no_ack": True}, "confirms no publish (no_ack)"),
    "none": ({"max_msgs": 10, "discard": "new"}, None),
}


@pytest.mark.parametrize(("config", "weakness"), WEAK.values(), ids=WEAK.keys())
async def test_a_stream_that_loses_messages_is_told(
    jetstream_url: str,
    plain: Client,
    own_token: str,
    caplog: pytest.LogCaptureFixture,
    config: dict[str, object],
    weakness: str | None,
) -> None:
    """A stream of somebody else's that lets go what nobody handled: its first use logs that, the doctor tells it."""
    name = f"theirs{own_token}"
    await make(plain, name, f"{own_token}.todo.>", **config)
    transport = await opened(jetstream_url)
    found = [each.text for each in await transport.findings() if each.level == "weak"]
    for _ in range(2):
        await (await transport.subscribe(Source("todo.new", "save", window=0))).aclose()
    assert found == [record.getMessage() for record in caplog.records if record.name == "pabal.nats"]
    assert [True] * (weakness is not None) == [f"the stream {name} {weakness}" in text for text in found]
    await transport.aclose()


async def test_a_named_stream_that_is_missing_is_told(jetstream_url: str) -> None:
    """The doctor finds that the stream which a URL names is not there."""
    transport = await opened(f"{jetstream_url}&stream=nowhere")
    assert ["there is no stream 'nowhere', which the URL names: make it"] == [
        each.text for each in await transport.findings() if each.level == "bad"
    ]
    await transport.aclose()


async def test_dead_letters_without_a_place_are_told(jetstream_url: str, plain: Client, own_token: str) -> None:
    """The doctor finds that the stream which a URL names keeps no dead letters."""
    await make(plain, f"only{own_token}", f"{own_token}.todo.>")
    transport = await opened(f"{jetstream_url}&stream=only{own_token}")
    (weak,) = [each.text for each in await transport.findings() if each.level == "weak"]
    assert f"the stream only{own_token} keeps no channel dead-letters: name a box by dead_letters=" == weak
    await transport.aclose()
