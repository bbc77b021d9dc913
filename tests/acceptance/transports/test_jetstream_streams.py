"""Which stream keeps a channel: made, found, named, or refused; what is there already is never changed."""

import asyncio

import pytest
from nats.aio.client import Client

from pabal import Bus, ConfigurationError
from pabal.model.clock import SystemClock
from pabal.model.errors import PublishError
from pabal.model.outcome import ACKED
from pabal.model.transport import Source
from pabal.runtime.registry import make_transport
from pabal.transports.nats import JetStreamTransport
from tests.acceptance.seen import Seen
from tests.acceptance.transports.jetstreams import api, end, make, post, stream_of, take, until
from tests.servers.plugin import Start


async def refused(url: str, source: Source) -> str:
    """Why a source cannot be read."""
    transport = make_transport(url, clock=SystemClock())
    await transport.open()
    try:
        with pytest.raises(ConfigurationError) as failed:
            await transport.subscribe(source)
    finally:
        await transport.aclose()
    return str(failed.value)


async def test_each_first_token_has_a_stream(jetstream: JetStreamTransport, plain: Client, own_token: str) -> None:
    """With the token alone and all below it, in files, discarding what is new when it is full."""
    await jetstream.publish([post("todo", "a"), post("todo.new.item", "b"), post("shop.sold", "c")])
    todo, shop = await stream_of(plain, f"{own_token}.todo"), await stream_of(plain, f"{own_token}.shop.sold")
    assert todo != shop
    config = (await api(plain, f"STREAM.INFO.{todo}"))["config"]
    assert [f"{own_token}.todo", f"{own_token}.todo.>"] == config["subjects"]
    assert ("file", "new", "limits", 1) == tuple(config[n] for n in ("storage", "discard", "retention", "num_replicas"))
    assert todo == await stream_of(plain, f"{own_token}.todo.new.item")


async def test_options_are_the_streams(jetstream_url: str, plain: Client, own_token: str) -> None:
    """Limits that the URL names are those of a stream that is made; a full one refuses what is new, by name."""
    options = "storage=memory&max_messages=3&max_bytes=100000&max_age=60"
    async with Bus(f"{jetstream_url}&{options}") as bus:
        receipts = await bus.publish_many("todo.new", range(3))
        assert 3 == len(receipts)
        with pytest.raises(PublishError, match="maximum messages") as failed:
            await bus.publish_many("todo.new", [3, 4])
        assert [True, True] == [receipt.error is not None for receipt in failed.value.receipts]
    config = (await api(plain, f"STREAM.INFO.{await stream_of(plain, f'{own_token}.todo')}"))["config"]
    assert ("memory", 3, 100000, 60_000_000_000) == tuple(
        config[name] for name in ("storage", "max_msgs", "max_bytes", "max_age")
    )


async def test_memory_is_not_durable(jetstream_url: str) -> None:
    """A transport whose streams are kept in memory says so."""
    transport = make_transport(f"{jetstream_url}&storage=memory", clock=SystemClock())
    assert not (await transport.open()).durable
    await transport.aclose()


async def test_a_stream_that_covers_a_channel_is_used(jetstream_url: str, plain: Client, own_token: str) -> None:
    """It is found by its subjects, left as it is, and not purged: it is somebody else's."""
    name = f"legacy_{own_token}"
    await make(plain, name, f"{own_token}.legacy.*", description="theirs", max_age=3_600_000_000_000)
    before = (await api(plain, f"STREAM.INFO.{name}"))["config"]
    bus, seen = Bus(jetstream_url), Seen()

    @bus.handler("legacy.sold", group="save")
    async def save(number: int) -> None:
        seen.add(number)

    async with bus.running():
        await bus.publish("legacy.sold", 1)
        assert [1] == await seen.wait(1)
    info = await api(plain, f"STREAM.INFO.{name}")
    assert before == info["config"]
    assert 1 == info["state"]["messages"]


async def test_a_difference_is_refused_with_both(jetstream_url: str, plain: Client, own_token: str) -> None:
    """A stream that is not as the URL asks is an error that shows what is there and what was asked for."""
    await make(plain, f"l{own_token}", f"{own_token}.todo.>", max_msgs=10)
    source = Source("todo.new", "save")
    assert "max_msgs=10, the URL asks for max_msgs=20" in await refused(f"{jetstream_url}&max_messages=20", source)
    assert "storage=file, the URL asks for storage=memory" in await refused(f"{jetstream_url}&storage=memory", source)


async def test_a_stream_that_covers_a_part_is_refused(jetstream_url: str, plain: Client, own_token: str) -> None:
    """Where a stream of others has some of a first token, the rest needs one that is named or made by a person."""
    await make(plain, f"o{own_token}", f"{own_token}.orders.legacy")
    assert "overlap" in await refused(jetstream_url, Source("orders.new", "save"))
    assert "do not cover" in await refused(jetstream_url, Source("orders.>", "save"))
    transport = make_transport(jetstream_url, clock=SystemClock())
    await transport.open()
    wrong, right = await transport.publish([post("orders.new", "a"), post("orders.legacy", "b")])
    assert "overlap" in str(wrong.error)
    assert None is right.error
    await transport.aclose()


async def test_several_streams_are_refused(jetstream_url: str, plain: Client, own_token: str) -> None:
    """A pattern over two streams is read from neither, until one is named."""
    await make(plain, f"a{own_token}", f"{own_token}.orders.a")
    await make(plain, f"b{own_token}", f"{own_token}.orders.b")
    text = await refused(jetstream_url, Source("orders.*", "save"))
    assert f"a{own_token}, b{own_token}" in text
    assert "?stream=" in text


async def test_a_stream_may_be_named(jetstream_url: str, plain: Client, own_token: str) -> None:
    """All channels are in it then, patterns that begin with a wildcard too; without it those are refused."""
    assert "?stream=" in await refused(jetstream_url, Source("*.new", "save"))
    assert "there is no stream 'nowhere'" in await refused(f"{jetstream_url}&stream=nowhere", Source("a", "g"))
    await make(plain, f"all{own_token}", f"{own_token}.>")
    bus, seen = Bus(f"{jetstream_url}&stream=all{own_token}"), Seen()

    @bus.handler("*.new", group="save")
    async def save(number: int) -> None:
        seen.add(number)

    async with bus.running():
        await bus.publish("todo.new", 1)
        await bus.publish("shop.new", 2)
        assert [1, 2] == sorted(await seen.wait(2))


async def test_a_removed_stream_is_made_again(jetstream: JetStreamTransport, plain: Client, own_token: str) -> None:
    """A publish makes it again, and its group and listener go on with what comes then, in the same subscriptions."""
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    listener = await jetstream.subscribe(Source("todo.>"))
    await jetstream.publish([post("todo.new", f"a{n}") for n in range(9)])
    await end(reader, await take(reader, 9), ACKED)
    await take(listener, 9)
    await api(plain, f"STREAM.DELETE.{await stream_of(plain, f'{own_token}.todo.new')}")

    async def goes_on() -> bool:
        (receipt,) = await jetstream.publish([post("todo.new", "b")])
        return receipt.error is None

    await until(goes_on)
    got = await take(reader, 1)
    assert "b" == got[0].message.id
    await end(reader, got, ACKED)
    assert ["b"] == [each.message.id for each in await take(listener, 1)]


async def test_streams_are_there_after_a_restart(start_nats: Start) -> None:
    """Streams in files outlive their server, and what is told to be taken is in them."""
    server = start_nats()
    url = server.url("jetstream")
    async with Bus(url) as bus:
        await bus.publish_many("todo.new", range(100))
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    other, seen = Bus(url), Seen()

    @other.handler("todo.new", group="save")
    async def save(number: int) -> None:
        seen.add(number)

    async with other.running():
        assert list(range(100)) == sorted(await seen.wait(100))
