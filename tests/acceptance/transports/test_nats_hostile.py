"""What nobody of good will sends to NATS: it costs no other message, no connection, and nobody's success."""

import asyncio

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from pabal import Backoff, Bus, PublishError
from pabal.model.clock import SystemClock
from pabal.model.outcome import Retried
from pabal.model.transport import GroupId, Source
from pabal.runtime.registry import make_transport
from pabal.transports.nats import JetStreamTransport
from tests.acceptance.seen import Seen
from tests.acceptance.transports.jetstreams import api, end, post, stream_of, subscribed, take
from tests.servers.plugin import Start

DUE = ["inf", "nan", "-inf", "1e300", "9" * 400]


def hpub(subject: bytes, headers: bytes, body: bytes, reply: bytes = b"") -> bytes:
    """A message as it stands on the wire."""
    block = b"NATS/1.0\r\n" + headers + b"\r\n"
    return b"HPUB %s %s %d %d\r\n%s%s\r\n" % (subject, reply, len(block), len(block) + len(body), block, body)


async def write(port: int, *frames: bytes) -> None:
    """Send frames as no client would, and wait until the server has read them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n' + b"".join(frames) + b"PING\r\n")
    async with asyncio.timeout(10):
        while (line := await reader.readline()) != b"PONG\r\n":
            assert not line.startswith(b"-ERR"), line
            assert line
    writer.close()
    await writer.wait_closed()


@pytest.fixture(params=["nats", "jetstream"])
def scheme(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


FRAMES = {
    "a subject that is no UTF-8": b"PUB todo.\xff\xfe 1\r\n1\r\n",
    "a reply subject that is no UTF-8": b"PUB todo.new inbox.\xff\xfe 1\r\n1\r\n",
    "a reply subject with wildcards": b"PUB todo.new todo.* 1\r\n1\r\n",
    "headers that are none": hpub(b"todo.new", b"\xff\xfe: \xff\r\n: : \r\n\x00\r\nce-id\r\n", b"1"),
    "headers as large as a stream takes them": hpub(b"todo.new", b"ce-id: " + b"x" * 65_000 + b"\r\n", b"1"),
    "an answer that leads elsewhere": hpub(
        b"todo.new",
        b"ce-specversion: 1.0\r\nce-id: 7\r\nce-source: s\r\nce-type: t\r\n"
        b"ce-replyto: a%200%0D%0A%0D%0APUB%20todo.new%203%0D%0A666%0D%0AX%20y\r\n",
        b"1",
    ),
    "a redrive and attempts that are none": hpub(
        b"todo.new", b"pabal-redrive: -1\r\npabal-attempt: 1e9\r\npabal-errors: %ff\r\n", b"1"
    ),
    **{f"due {due}": hpub(b"todo.new", b"pabal-due: " + due.encode() + b"\r\n", b"1") for due in DUE},
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
async def test_no_bytes_stop_a_reader(start_nats: Start, scheme: str, frame: bytes) -> None:
    """Whatever a message has where others have headers and subjects: it and what follows are handled, no more."""
    server = start_nats()
    bus, seen = Bus(server.url(scheme)), Seen()

    @bus.handler("todo.>", group="save", delivery="at-most-once")
    async def save(number: int) -> int:
        seen.add(number)
        return number

    @bus.listen("todo.>")
    async def listen(number: int) -> None:
        seen.add(-number)

    async with bus.running():
        await write(server.port, frame)
        await bus.publish("todo.new", 2)
        async with asyncio.timeout(5):
            while not {1, -1, 2, -2} <= set(seen):
                await seen.wait(len(seen) + 1)
        assert 3 == await bus.request("todo.count", 3, reply=int)
        assert 666 not in seen


async def test_large_headers_can_be_dead(jetstream_url: str, plain: Client, own_token: str) -> None:
    """A message whose headers are as large as a stream takes them can be a dead letter, without its history."""
    bus = Bus(jetstream_url, retry=Backoff(attempts=1))

    @bus.handler("todo.new", group="save")
    async def save(number: int) -> None:
        raise ValueError("no" * 5000)

    async with bus.running():
        await plain.jetstream().publish(f"{own_token}.todo.new", b"1", headers={"big": "x" * 63_000})
        transport = make_transport(jetstream_url, clock=SystemClock())
        await transport.open()
        (buried,) = await take(await transport.subscribe(Source("dead-letters", "test", start="oldest")), 1)
        assert b"1" == buried.message.body
        await transport.aclose()


async def test_a_large_body_can_be_dead(jetstream_url: str, plain: Client, own_token: str) -> None:
    """A plain message with a larger body than pabal publishes can be a dead letter, if the server has room for both."""
    bus = Bus(jetstream_url, retry=Backoff(attempts=1))

    @bus.handler("todo.new", group="save")
    async def save(body: bytes) -> None:
        raise ValueError("no" * 5000)

    async with bus.running():
        await plain.jetstream().publish(f"{own_token}.todo.new", b"x" * (plain.max_payload - 2000))
        transport = make_transport(jetstream_url, clock=SystemClock())
        await transport.open()
        (buried,) = await take(await transport.subscribe(Source("dead-letters", "test", start="oldest")), 1)
        assert plain.max_payload - 2000 == len(buried.message.body)
        await transport.aclose()


async def test_a_strangers_answer_is_no_success(jetstream: JetStreamTransport, plain: Client, own_token: str) -> None:
    """Whoever hears a channel may answer a publish: only what a stream says tells that one has it."""
    await jetstream.publish([post("todo.new", "a")])
    await api(plain, f"STREAM.DELETE.{await stream_of(plain, f'{own_token}.todo.new')}")

    async def answer(message: Msg) -> None:
        for text in (b"", b"{}", b"[]", b'{"stream":"x"}', b'{"seq":7}', b'{"ok":true}'):
            await plain.publish(message.reply, text)
        await plain.publish(message.reply.rpartition(".")[0] + ".99", b"{}")
        await plain.publish(message.reply.rpartition(".")[0] + ".x", b"{}")

    await subscribed(plain, f"{own_token}.todo.new", cb=answer)
    (receipt,) = await jetstream.publish([post("todo.new", "b")])
    assert isinstance(receipt.error, PublishError)
    assert "instead of JetStream" in str(receipt.error)
    (receipt,) = await jetstream.publish([post("shop.new", "b")])
    assert None is receipt.error


GARBAGE = [b"", b"{", b"[]", b"{}", b'{"id":1}', b"\xff", b'{"id":"x","released":"y"}']


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_broken_record_is_none(
    jetstream: JetStreamTransport, plain: Client, own_token: str, garbage: bytes
) -> None:
    """What somebody else wrote into the bucket of failures, or took out there, costs no message and no listing."""
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    stream, consumer = reader.consumer.stream.name, reader.consumer.name
    await jetstream.publish([post("todo.new", "a"), post("todo.new", "b")])
    got = await take(reader, 2)
    await end(reader, got, Retried(60.0))
    for key in ("1", "none", "9" * 30):
        await plain.jetstream().publish(f"$KV.pabal-failures.{stream}.{consumer}.{key}", garbage)
    assert [2] == [each.ready + each.waiting + each.leased for each in await jetstream.groups()]
    await reader.aclose()
    await jetstream.remove(GroupId("todo.new", "save"), discard=True)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_message_with_a_broken_record_comes(
    jetstream: JetStreamTransport, plain: Client, garbage: bytes
) -> None:
    """A message whose failures cannot be read is handled as if it had none."""
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    stream, consumer = reader.consumer.stream.name, reader.consumer.name
    await jetstream.publish([post("todo.new", "a")])
    got = await take(reader, 1)
    await end(reader, got, Retried(0.5))
    await plain.jetstream().publish(
        f"$KV.pabal-failures.{stream}.{consumer}.1", garbage, headers={} if garbage else {"KV-Operation": "DEL"}
    )
    async with asyncio.timeout(5):
        (again,) = await take(reader, 1)
    assert ("a", 2) == (again.message.id, again.attempt)
    await end(reader, [again])


async def test_answers_that_are_none_stop_nobody(jetstream: JetStreamTransport, plain: Client) -> None:
    """Whoever hears what JetStream is asked may answer it first: the reader goes on."""
    for call in ("$JS.API.CONSUMER.MSG.NEXT.>", "$JS.API.STREAM.MSG.GET.>"):

        async def answer(message: Msg) -> None:
            await plain.publish(message.reply, b"{")
            await plain.publish(message.reply, b"7", reply="a.b")
            await plain.publish(message.reply, b"7", reply="$JS.ACK.a.b.c.d.e.f.g")
            await plain.publish(message.reply, b"", headers={"Status": "408", "Nats-Pending-Messages": "x"})

        await subscribed(plain, call, cb=answer)
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    await jetstream.publish([post("todo.new", "a")])
    async with asyncio.timeout(20):
        while not [each for each in await reader.receive(1) if each.message.id == "a"]:
            pass


async def test_a_made_up_advisory_stops_nobody(jetstream: JetStreamTransport, plain: Client) -> None:
    """What somebody makes up of a consumer that gave up leads to no more than a dead letter too many."""
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    stream = reader.consumer.stream.name
    await jetstream.publish([post("todo.new", "a")])
    made_up = (
        b"",
        b"[]",
        b"{}",
        b'{"stream":"x y","consumer":"x","stream_seq":1}',
        b'{"stream":"x 0\\r\\n\\r\\nPUB y","consumer":"z 1","stream_seq":1}',
        b'{"stream":"x","consumer":"y","stream_seq":%d}' % 10**30,
        b'{"stream":"x","consumer":"y","stream_seq":-1}',
        b'{"stream":"x","consumer":"y","stream_seq":99}',
    )
    for text in made_up:
        for consumer in ("none", reader.consumer.name):
            await plain.publish(f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.{consumer}", text)
    await subscribed(plain, "all.that.was.sent.is.there")
    for _ in range(2):
        await jetstream.groups()
    await jetstream.publish([post("todo.new", "b")])
    assert ["a", "b"] == [each.message.id for each in await take(reader, 2)]


async def test_many_digits_stop_nobody(jetstream: JetStreamTransport, plain: Client) -> None:
    """Somebody who answers for a group that it holds more than can be read does not end the connection."""
    reader = await jetstream.subscribe(Source("todo.new", "save"))

    async def answer(message: Msg) -> None:
        await plain.publish(message.reply, b"9" * 10_000)

    await subscribed(plain, f"pabal-members.{reader.consumer.stream.name}.*", cb=answer)
    async with asyncio.timeout(5):
        (group,) = await jetstream.groups()
    assert 1 == group.members
