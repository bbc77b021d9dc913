"""What sqlite:// promises beyond the conformance kit: its URL, routing and requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pabal.model.address import Address
from pabal.model.clock import SystemClock
from pabal.model.errors import (
    CapabilityError,
    ConfigurationError,
    ConnectionFailed,
    MessageTooLarge,
)
from pabal.model.message import Message
from pabal.model.transport import GroupId, Post, Source
from pabal.transports.sql import SqliteTransport
from tests.unit.messagebox.boxes import (
    all_letters,
    bodies,
    message,
    opened,
    posts,
    take,
    transport_to,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box.db"


# The URL.


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "name a file"),
        ("sqlite:///", "name a file"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///folder/", "name a file"),
        ("sqlite://todo.db", "three slashes"),
        ("sqlite://me@/todo.db", "three slashes"),
        ("sqlite:///todo.db?lease=0", "lease is more than 0 seconds"),
        ("sqlite:///todo.db?max_body=0", "max_body 1 to"),
        ("sqlite:///todo.db?synchronous=off", "synchronous is full or normal"),
        ("sqlite:///todo.db?journal=wal", "its options are: lease, max_body, overflow, synchronous"),
    ],
)
def test_a_bad_url_says_what_is_wrong(url: str, said: str) -> None:
    """A URL that cannot be a box is refused before anything is opened."""
    with pytest.raises(ConfigurationError, match=said):
        SqliteTransport(Address(url), clock=SystemClock())


async def test_a_relative_file_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is of the folder that was current when the transport was made."""
    (tmp_path / "later").mkdir()
    monkeypatch.chdir(tmp_path)
    transport = SqliteTransport(Address("sqlite:///todo%20list.db"), clock=SystemClock())
    monkeypatch.chdir(tmp_path / "later")
    await transport.open()
    await transport.aclose()
    assert (tmp_path / "todo list.db").exists()


async def test_an_open_that_failed_can_be_tried_again(tmp_path: Path) -> None:
    """Once what was wrong is mended, the same transport opens."""
    transport = transport_to(tmp_path / "later" / "box.db")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="does not exist"):
            await transport.open()
    with pytest.raises(ConnectionFailed, match="not open"):
        await transport.publish(posts(b"early"))
    (tmp_path / "later").mkdir()
    await transport.open()
    assert (await transport.publish(posts(b"now")))[0].error is None
    await transport.aclose()


async def test_closing_leaves_one_file_and_its_turn(path: Path) -> None:
    """The last one to close takes the write-ahead log into the file, so that the file alone can be copied."""
    async with opened(path) as first, opened(path):
        await first.publish(posts(b"x"))
    assert sorted(file.name for file in path.parent.iterdir()) == ["box.db", "box.db-turn"]


async def test_closing_twice_at_once_and_before_opening_is_fine(path: Path) -> None:
    """Aclose may be called at any time, by several at once; afterwards every use says that it is closed."""
    await transport_to(path).aclose()
    transport = transport_to(path)
    await transport.open()
    await transport.open()
    reader = await transport.subscribe(Source("a.b", "group"))
    await asyncio.gather(transport.aclose(), transport.aclose(), reader.aclose())
    for use in (transport.open(), transport.publish(posts(b"x")), transport.groups(), reader.receive(1)):
        with pytest.raises(ConnectionFailed, match="closed"):
            await use


# What cannot be done.


async def test_what_a_box_cannot_do_is_refused(path: Path) -> None:
    """Replay is refused; bad names, windows and modes too."""
    async with opened(path) as transport:
        with pytest.raises(CapabilityError, match="start="):
            await transport.subscribe(Source("a.b", "group", start="oldest"))
        for source in (
            Source("a..b", "group"),
            Source("a.b", "~mine"),
            Source("a.b", "group", window=-1),
            Source("a.b", "group", ordered=True, on_dead="drop"),  # type: ignore[arg-type]
        ):
            with pytest.raises(ConfigurationError):
                await transport.subscribe(source)


async def test_failures_of_single_messages_are_in_their_receipts(path: Path) -> None:
    """A body too large, a pattern to publish to and an unknown group fail alone; the others are taken."""
    async with opened(path, options="?max_body=3") as transport:
        reader = await transport.subscribe(Source("a.b", "group"))
        receipts = await transport.publish(
            [
                *posts(b"1", b"22"),
                *posts(b"4444"),
                *posts(b"5", channel="a.*"),
                Post(message(body=b"6"), group=GroupId("a.b", "nobody")),
                Post(message(body=b"7"), group=GroupId("a.b", "group")),
            ]
        )
        assert [type(receipt.error) for receipt in receipts] == [
            type(None),
            type(None),
            MessageTooLarge,
            ConfigurationError,
            ConfigurationError,
            type(None),
        ]
        assert bodies(await take(reader, 3)) == [b"1", b"22", b"7"]
        assert await all_letters(transport) == []


# Routing.


async def test_a_subscription_elsewhere_is_never_missed(path: Path) -> None:
    """Another transport's cached routing does not miss a group that was there when its publish began."""
    async with opened(path) as here, opened(path) as there:
        for number in range(50):
            assert (await here.publish(posts(b"x", channel="a.b")))[0].receivers == number
            await there.subscribe(Source("a.*", f"group{number}", window=1))


async def test_one_transaction_of_subscriptions_and_publishes_is_honest(path: Path) -> None:
    """Jobs that share a transaction see each other in their order."""
    async with opened(path) as transport:
        _, first, _, second = await asyncio.gather(
            transport.subscribe(Source("a.b", "one")),
            transport.publish(posts(b"1")),
            transport.subscribe(Source("a.>", "two")),
            transport.publish(posts(b"2")),
        )
        assert (first[0].receivers, second[0].receivers) == (1, 2)


async def test_a_cancelled_subscribe_leaves_no_listener(path: Path) -> None:
    """Cancelled, a registration is taken back: nothing piles up for a listener that nobody has."""
    async with opened(path) as transport:
        await transport.subscribe(Source("z", "other"))
        subscribing = asyncio.create_task(transport.subscribe(Source("a.b")))
        await asyncio.sleep(0)
        subscribing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await subscribing
        for subscription in tuple(transport._subscriptions):
            if subscription.reader.group is None:
                await subscription.aclose()
        assert (await transport.publish(posts(b"x")))[0].routed is False


# Requests.


async def test_only_who_has_the_address_can_answer_to_it(path: Path) -> None:
    """The way back is of its own for each transport and cannot be guessed; nobody there is no error."""
    async with opened(path) as here, opened(path) as there:
        got: asyncio.Queue[tuple[str, Message | None]] = asyncio.Queue()
        address = await here.replies(lambda reply_to, answer: got.put_nowait((reply_to, answer)))
        assert await there.replies(lambda _reply_to, _answer: None) != address
        with pytest.raises(ConfigurationError, match="open already"):
            await here.replies(lambda _reply_to, _answer: None)
        answer = message(f"{address}.7", b"42")
        await there.reply(answer)
        assert await got.get() == (f"{address}.7", answer)
        await there.reply(message("pabal-reply.unknown.7"))
        assert await all_letters(there) == []
        with pytest.raises(MessageTooLarge):
            await there.reply(message(f"{address}.7", b"x" * 20_000_000))


async def test_findings_tell_what_is_weak(path: Path) -> None:
    """A doctor sees how durable publishes are, the schema, and whether the file is whole."""
    async with opened(path, options="?synchronous=normal") as transport:
        await transport.publish(posts(b"x"))
        findings = await transport.findings()
        assert [finding.text.split(":")[0] for finding in findings if finding.level == "weak"] == ["synchronous=normal"]
        assert {"quick_check found nothing wrong", "schema 1 of 1"} <= {finding.text for finding in findings}
