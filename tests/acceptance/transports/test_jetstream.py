"""What is particular to JetStream: what its streams keep and for whom, and what is remembered of failures."""

import asyncio
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from nats.aio.client import Client

from pabal import Backoff, Bus, ConfigurationError, Context, NoResponders, PublishError
from pabal.model.clock import SystemClock
from pabal.model.outcome import RELEASED, Failure, Retried
from pabal.model.transport import GroupId, Source
from pabal.runtime.registry import make_transport
from pabal.transports.nats import JetStreamTransport
from tests.acceptance.seen import Seen, letters
from tests.acceptance.transports.jetstreams import api, end, kept, post, stream_of, take, until
from tests.servers.plugin import Start


async def test_what_nobody_reads_waits_in_the_stream(jetstream_url: str) -> None:
    """A channel's first group gets what was published before it came, a later one what comes later."""
    async with Bus(jetstream_url) as publisher:
        receipt = await publisher.publish("todo.new", 1)
        assert (None, None) == (receipt.routed, receipt.receivers)
    seen = {name: Seen() for name in ("first", "later")}
    buses = {name: Bus(jetstream_url) for name in seen}
    for name, bus in buses.items():

        @bus.handler("todo.new", group=name)
        async def handle(number: int, seen: Seen = seen[name]) -> None:
            seen.add(number)

    async with buses["first"].running():
        assert [1] == await seen["first"].wait(1)
        async with buses["later"].running():
            await buses["first"].publish("todo.new", 2)
            assert [2] == await seen["later"].wait(1)
            assert [1, 2] == await seen["first"].wait(2)


async def test_a_group_begins_at_a_time(jetstream: JetStreamTransport) -> None:
    """A group that starts at a time gets what was published since, and a listener that does so too."""
    for number in range(3):
        await jetstream.publish([post("todo.new", f"m{number}")])
        await asyncio.sleep(0.01)
    first = await jetstream.subscribe(Source("todo.new", "first"))
    got = await take(first, 3)
    start = got[1].message.time - timedelta(milliseconds=5)
    for group in ("since", None):
        subscription = await jetstream.subscribe(Source("todo.new", group, start=start))
        assert ["m1", "m2"] == [each.message.id for each in await take(subscription, 2)]


async def test_a_redrive_is_no_duplicate(jetstream: JetStreamTransport) -> None:
    """The window in which a stream knows an id again takes no redrive, of neither group; the very same one it does."""
    groups = ("save", "audit")
    readers = [await jetstream.subscribe(Source("todo.new", group)) for group in groups]
    again = [
        post("todo.new", "a", group=GroupId("todo.new", group), redrive=number)
        for number, group in product((1, 2), groups)
    ]
    receipts = await jetstream.publish([post("todo.new", "a"), *again])
    assert [None] * 5 == [receipt.error for receipt in receipts]
    for reader in readers:
        assert [0, 1, 2] == [each.redrive for each in await take(reader, 3)]
    (twice,) = await jetstream.publish([again[-1]])
    assert isinstance(twice.error, PublishError)
    assert "already" in str(twice.error)
    (published_twice,) = await jetstream.publish([post("todo.new", "a")])
    assert None is published_twice.error


async def test_a_redrive_for_no_group_is_refused(jetstream: JetStreamTransport) -> None:
    """What would pass every group by is an error in its receipt, and not lost."""
    await jetstream.subscribe(Source("todo.new", "save"))
    (receipt,) = await jetstream.publish([post("todo.new", "a", group=GroupId("todo.new", "unknown"))])
    assert "there is no group 'unknown'" in str(receipt.error)


async def test_a_dead_letter_is_sent_again(jetstream_url: str, tmp_path: Path) -> None:
    """Every attempt's failure is with it, and a redrive reaches the group that failed alone, as a first attempt."""
    bus = Bus(jetstream_url, retry=Backoff(attempts=3, first=0.0), dead_letters=f"sqlite:///{tmp_path / 'dead.db'}")
    saved, audited, good = Seen(), Seen(), asyncio.Event()

    @bus.handler("todo.new", group="save")
    async def save(number: int, context: Context) -> None:
        if not good.is_set():
            raise ValueError(f"not yet, {context.attempt}")
        saved.add((number, context.attempt))

    @bus.handler("todo.new", group="audit")
    async def audit(number: int) -> None:
        audited.add(number)

    async with bus.running():
        await bus.publish("todo.new", 7)
        (letter,) = await letters(bus)
        assert ("exhausted", "save") == (letter.reason, letter.group)
        assert [f"ValueError: not yet, {n}" for n in (1, 2, 3)] == [failure.error for failure in letter.attempts]
        assert {True} == {"Traceback" in failure.traceback for failure in letter.attempts}
        good.set()
        (sent,) = await bus.dead_letters.redrive([letter.id])
        assert None is sent.error
        assert [(7, 1)] == await saved.wait(1)
        await bus.publish("todo.new", 8)
        assert [7, 8] == await audited.wait(2)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Purging need not be waited for."""
    monkeypatch.setattr("pabal.transports.nats.jetstream.transport._PURGE_EVERY", 0.05)


async def keeps(plain: Client, subject: str, wanted: dict[str, int]) -> None:
    """Wait until the stream of a subject keeps this many messages of each channel, by its last token."""

    async def holds() -> bool:
        return await kept(plain, subject) == wanted

    await until(holds)


@pytest.mark.usefixtures("often")
async def test_what_all_groups_have_handled_is_purged(
    jetstream: JetStreamTransport, plain: Client, own_token: str
) -> None:
    """By channel, up to the lowest floor of its groups: an idle group of another channel holds up nothing."""
    subject = f"{own_token}.todo.new"
    await jetstream.subscribe(Source("todo.idle", "idle", window=0))
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    slow = await jetstream.subscribe(Source("todo.new", "slow"))
    await jetstream.publish(
        [post(f"todo.{name}", f"{name}{n}") for n in range(3) for name in ("new", "idle", "nobody")]
    )
    await end(reader, await take(reader, 3))
    got = await take(slow, 3)
    await end(slow, got[:2])
    await keeps(plain, subject, {"new": 1, "idle": 3, "nobody": 3})
    await end(slow, got[2:])
    await keeps(plain, subject, {"idle": 3, "nobody": 3})


@pytest.mark.usefixtures("often")
async def test_what_is_in_hand_outlives_a_purge(jetstream: JetStreamTransport, plain: Client, own_token: str) -> None:
    """Neither group forgets what its members hold: given back after a purge, each message comes again."""
    readers = [await jetstream.subscribe(Source("todo.new", group)) for group in ("save", "audit")]
    await jetstream.publish([post("todo.new", f"m{n}") for n in range(3)])
    taken = [await take(reader, 3) for reader in readers]
    for reader, got in zip(readers, taken, strict=True):
        await end(reader, got[:1])
    await keeps(plain, f"{own_token}.todo.new", {"new": 2})
    for reader, got in zip(readers, taken, strict=True):
        await end(reader, got[1:], RELEASED)
        assert {"m1", "m2"} == {each.message.id for each in await take(reader, 2)}


@pytest.mark.usefixtures("often")
async def test_a_pattern_is_purged_channel_by_channel(
    jetstream: JetStreamTransport, plain: Client, own_token: str
) -> None:
    """What a group on a pattern has handled goes where nobody else is behind, and stays where somebody is."""
    wide = await jetstream.subscribe(Source("todo.>", "wide"))
    await jetstream.subscribe(Source("todo.behind", "slow", window=0))
    await jetstream.publish([post("todo.new", "a"), post("todo.behind", "b"), post("todo.new", "c")])
    await end(wide, await take(wide, 3))
    await keeps(plain, f"{own_token}.todo.new", {"behind": 1})


@pytest.mark.usefixtures("often")
async def test_what_others_have_not_handled_stays(jetstream: JetStreamTransport, plain: Client, own_token: str) -> None:
    """A consumer of somebody else's holds up the purge of all its subjects: NATS 2.9 gives it all there are."""
    reader = await jetstream.subscribe(Source("todo.*", "save"))
    stream = reader.consumer.stream.name
    config = {
        "durable_name": "theirs",
        "filter_subjects": [f"{own_token}.todo.a", f"{own_token}.todo.b"],
        "ack_policy": "explicit",
    }
    await api(plain, f"CONSUMER.CREATE.{stream}.theirs", {"stream_name": stream, "config": config})
    await jetstream.publish([post(f"todo.{name}", name) for name in "abc"])
    await end(reader, await take(reader, 3))
    theirs = await plain.jetstream().pull_subscribe_bind(stream=stream, durable="theirs")
    (message,) = await theirs.fetch(1, timeout=10)
    await message.ack_sync()
    got = await theirs.fetch(1, timeout=10)
    state = (await api(plain, f"STREAM.INFO.{stream}", {"subjects_filter": ">"}))["state"]["subjects"]
    assert state[f"{own_token}.todo.b"]
    await got[0].ack_sync()
    await jetstream.publish([post("todo.a", "more")])
    await end(reader, await take(reader, 1))
    await until(lambda: purged(plain, stream, f"{own_token}.todo.b"))


async def purged(plain: Client, stream: str, subject: str) -> bool:
    """Whether a stream keeps nothing more of a subject."""
    state = (await api(plain, f"STREAM.INFO.{stream}", {"subjects_filter": ">"}))["state"]
    return subject not in (state.get("subjects") or {})


async def test_a_worker_that_fails_remembers_it(jetstream: JetStreamTransport, jetstream_url: str) -> None:
    """Giving back is no attempt, a retry is one: the record stands in a bucket and ends with the message."""
    failure = Failure(post("a", "x").message.time, 1, "ValueError: no", "Traceback\n" * 100, "ValueError at a.py:1 f")
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    await jetstream.publish([post("todo.new", "a")])
    for _ in range(3):
        (got,) = await take(reader, 1)
        assert (1, ()) == (got.attempt, got.errors)
        await end(reader, [got], RELEASED)
    (got,) = await take(reader, 1)
    await end(reader, [got], Retried(0.0, failure))
    other = make_transport(jetstream_url, clock=SystemClock())
    await reader.aclose()
    await other.open()
    heir = await other.subscribe(Source("todo.new", "save"))
    (got,) = await take(heir, 1)
    assert (2, (failure,)) == (got.attempt, got.errors)
    await end(heir, [got])
    await other.aclose()


async def test_records_end_with_their_messages(jetstream: JetStreamTransport, plain: Client) -> None:
    """Once a message that had failed is done, nothing of it is left in the bucket."""
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    stream = reader.consumer.stream.name
    await jetstream.publish([post("todo.new", f"m{n}") for n in range(20)])
    await end(reader, await take(reader, 20), Retried(0.0))

    async def left() -> int:
        asked = {"subjects_filter": f"$KV.pabal-failures.{stream}.>"}
        return len((await api(plain, "STREAM.INFO.KV_pabal-failures", asked))["state"].get("subjects") or {})

    assert 20 == await left()
    await end(reader, await take(reader, 20))

    async def none_left() -> bool:
        return await left() == 0

    await until(none_left)


async def test_a_long_delay_outlives_the_server(start_nats: Start) -> None:
    """A restarted server forgets the delays of retries; they are kept all the same, however short the lease is."""
    server = start_nats()
    transport = make_transport(server.url("jetstream") + "?lease=1", clock=SystemClock())
    await transport.open()
    reader = await transport.subscribe(Source("todo.new", "save"))
    await transport.publish([post("todo.new", "a")])
    start = asyncio.get_running_loop().time()
    await end(reader, await take(reader, 1), Retried(4.0))
    await asyncio.to_thread(server.restart)
    (got,) = await take(reader, 1)
    assert asyncio.get_running_loop().time() - start >= 3.9
    assert 2 == got.attempt
    await transport.aclose()


async def test_requests_are_kept_by_nobody(jetstream_url: str, plain: Client, own_token: str) -> None:
    """They pass over NATS itself: nobody there is told at once, a thousand at a time get their own, nothing stays."""
    bus = Bus(jetstream_url)

    @bus.handler("todo.count", group="count")
    async def count(number: int) -> int:
        return number * 2

    async with bus.running(), Bus(jetstream_url) as asker:
        with pytest.raises(NoResponders):
            await asker.request("todo.nobody", 1, reply=int, timeout=30.0)
        answers = await asyncio.gather(*(asker.request("todo.count", n, reply=int, timeout=30.0) for n in range(1000)))
        assert [2 * n for n in range(1000)] == answers
        assert {} == await kept(plain, f"{own_token}.todo.count")
        answer = await plain.request(f"pabal-requests.{own_token}.todo.count", b"21")
        assert b"42" == answer.data


async def test_a_group_that_is_removed_leaves_dead_letters(jetstream_url: str, jetstream: JetStreamTransport) -> None:
    """What it had not handled, what waits for a retry too, is in the channel of dead letters; the next begins anew."""
    reader = await jetstream.subscribe(Source("todo.new", "going"))
    await jetstream.publish([post("todo.new", f"m{n}") for n in range(5)])
    got = await take(reader, 5)
    await end(reader, got[:1])
    await end(reader, got[1:3], Retried(60.0))
    await reader.aclose()
    assert 4 == await jetstream.remove(GroupId("todo.new", "going"))
    buried = await take(await jetstream.subscribe(Source("dead-letters", "test", start="oldest")), 4)
    assert {b"m1", b"m2", b"m3", b"m4"} == {each.message.body for each in buried}
    again = await jetstream.subscribe(Source("todo.new", "going"))
    await jetstream.publish([post("todo.new", "later")])
    assert ["later"] == [each.message.id for each in await take(again, 1)]


async def test_leases_are_the_groups(jetstream_url: str, jetstream: JetStreamTransport) -> None:
    """Who asks for none takes the group's lease; another one is refused while members live, and taken over after."""
    asked = make_transport(f"{jetstream_url}&lease=7", clock=SystemClock())
    await asked.open()
    first = await jetstream.subscribe(Source("todo.new", "save"))
    assert 30.0 == first.lease
    with pytest.raises(Exception, match="its lease is 30 s, not 7 s"):
        await asked.subscribe(Source("todo.new", "save"))
    await first.aclose()
    second = await asked.subscribe(Source("todo.new", "save"))
    third = await jetstream.subscribe(Source("todo.new", "save"))
    assert (7.0, 7.0) == (second.lease, third.lease)
    await asked.aclose()


async def test_listeners_leave_nothing(jetstream: JetStreamTransport, plain: Client, own_token: str) -> None:
    """A listener's consumer ends with it."""
    listener = await jetstream.subscribe(Source("todo.new"))
    stream = await stream_of(plain, f"{own_token}.todo.new")
    assert 1 == (await api(plain, f"CONSUMER.NAMES.{stream}"))["total"]
    await listener.aclose()
    assert 0 == (await api(plain, f"CONSUMER.NAMES.{stream}"))["total"]


async def test_what_others_give_up_is_a_dead_letter(
    jetstream: JetStreamTransport, plain: Client, own_token: str
) -> None:
    """A message that a consumer of somebody else's got as often as it may, in a stream that is read here."""
    await jetstream.subscribe(Source("todo.new", "save"))
    stream = await stream_of(plain, f"{own_token}.todo.new")
    config = {
        "durable_name": "theirs",
        "filter_subject": f"{own_token}.todo.new",
        "ack_policy": "explicit",
        "ack_wait": 200_000_000,
        "max_deliver": 2,
    }
    await api(plain, f"CONSUMER.DURABLE.CREATE.{stream}.theirs", {"stream_name": stream, "config": config})
    theirs = await plain.jetstream().pull_subscribe_bind(stream=stream, durable="theirs")
    await jetstream.publish([post("todo.new", "a")])
    for _ in range(2):
        (message,) = await theirs.fetch(1, timeout=10)
        await message.nak()
    with pytest.raises(TimeoutError):
        await theirs.fetch(1, timeout=1)
    (buried,) = await take(await jetstream.subscribe(Source("dead-letters", "test", start="oldest")), 1)
    assert b"a" == buried.message.body
    assert "theirs" in buried.message.attributes["paballetter"]


async def test_what_was_made_to_give_up_is_a_dead_letter(
    jetstream: JetStreamTransport, plain: Client, own_token: str
) -> None:
    """A group's consumer that somebody told to give up: what it gives up is a dead letter, and who joins is refused."""
    reader = await jetstream.subscribe(Source("todo.new", "save"))
    stream, name = reader.consumer.stream.name, reader.consumer.name
    config = (await api(plain, f"CONSUMER.INFO.{stream}.{name}"))["config"]
    changed = {"stream_name": stream, "config": config | {"max_deliver": 2}}
    assert "error" not in await api(plain, f"CONSUMER.DURABLE.CREATE.{stream}.{name}", changed)
    await jetstream.publish([post("todo.new", "a")])
    for _ in range(2):
        await end(reader, await take(reader, 1), Retried(0.0))
    (buried,) = await take(await jetstream.subscribe(Source("dead-letters", "test", start="oldest")), 1)
    assert b"a" == buried.message.body
    assert '"group":"save"' in buried.message.attributes["paballetter"]
    with pytest.raises(ConfigurationError, match="has max_deliver=2, pabal makes it with max_deliver=-1"):
        await jetstream.subscribe(Source("todo.new", "save"))
