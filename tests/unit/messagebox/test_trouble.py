"""What happens when the file makes trouble: nobody is told that something is done which is not."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pabal.messagebox.sqlite.box import Box
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.clock import SystemClock
from pabal.model.errors import CodecError, ConfigurationError, ConnectionFailed
from pabal.model.outcome import ACKED, Settlement
from pabal.model.transport import Post, Source
from tests.unit.messagebox.boxes import bodies, message, opened, posts, settle, take, transport_to


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box.db"


def set_pragma(text: str) -> Callable[[Box], object]:
    """A setting of the writing connection, as a limit of the machine would be."""
    return lambda box: box.file.connection.execute(f"PRAGMA {text}").fetchall()


async def test_full_disk_fails_the_publish_and_not_its_neighbours(path: Path) -> None:
    """A publish that does not fit raises; one that waited with it and fits is taken."""
    async with opened(path) as transport:
        reader = await transport.subscribe(Source("a.b", "group", window=1))
        await transport._writer.tell(set_pragma("max_page_count = 40"))
        small, large = await asyncio.gather(
            transport.publish(posts(b"small")),
            transport.publish(posts(b"x" * 1_000_000)),
            return_exceptions=True,
        )
        assert not isinstance(small, BaseException)
        assert small[0].routed
        assert isinstance(large, ConnectionFailed)
        assert "the disk is full; free some space" in str(large)
        got = await take(reader, 1)
        assert bodies(got) == [b"small"]
        assert await settle(reader, got, ACKED) == [Settlement.DONE]
        await transport._writer.tell(set_pragma("max_page_count = 100000"))
        await transport.publish(posts(b"x" * 1_000_000))
        assert len((await take(reader, 1))[0].message.body) == 1_000_000


async def test_a_foreign_writer_is_waited_for_and_then_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While another program holds the file, publishes fail, settlements are unknown, and readers go on trying."""
    caplog.set_level(logging.INFO, "pabal.sqlite")
    async with opened(path, SystemClock()) as transport:
        reader = await transport.subscribe(Source("a.b", "group", window=1))
        await transport.publish(posts(b"first", b"second"))
        first = await take(reader, 1)
        await transport._writer.tell(set_pragma("busy_timeout = 10"))
        with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            with pytest.raises(ConnectionFailed, match="another process has held it for too long"):
                await transport.publish(posts(b"lost?"))
            assert await settle(reader, first, ACKED) == [Settlement.UNKNOWN]
            foreign.execute("ROLLBACK")
        assert await settle(reader, first, ACKED) == [Settlement.DONE]
        second = await take(reader, 1)
        assert bodies(second) == [b"second"]
        assert [record.getMessage().split("; ")[-1] for record in caplog.records if record.levelno > 20] == [
            "trying again until it works"
        ]


async def test_readers_go_on_by_themselves_after_trouble(path: Path) -> None:
    """What became ready during trouble is delivered after it without anybody asking again."""
    async with opened(path, SystemClock()) as transport:
        reader = await transport.subscribe(Source("a.b", "group"))
        await transport._writer.tell(set_pragma("busy_timeout = 10"))
        receiving = asyncio.create_task(take(reader, 1))
        with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            foreign.execute(
                "INSERT INTO pabal_message (grp, place, attempt, redrive, channel, message_id, headers, body)"
                " SELECT id, 0, 0, 0, 'a.b', 'by hand', x'', CAST('hello' AS BLOB) FROM pabal_group"
            )
            with pytest.raises(ConnectionFailed):
                await transport.publish(posts(b"lost?"))
            foreign.execute("COMMIT")
        (delivery,) = await receiving
        assert (delivery.message.id, delivery.message.body) == ("by hand", b"hello")
        await settle(reader, [delivery], ACKED)


async def test_a_replaced_file_takes_no_more_messages(path: Path) -> None:
    """Once the file was moved away, publishing says so instead of writing where nobody reads."""
    async with opened(path) as transport:
        await transport.publish(posts(b"before"))
        moved = path.rename(path.with_name("moved.db"))  # noqa: ASYNC240 - a moment
        with pytest.raises(ConnectionFailed, match="was moved, deleted or replaced while it was in use"):
            await transport.publish(posts(b"after"))
        moved.rename(path)
        await transport.publish(posts(b"again"))


async def test_a_job_that_fails_does_so_alone(path: Path) -> None:
    """Of jobs in one transaction the failing one is undone, with what it had registered, and gets its own error."""

    def fail(transaction: Transaction) -> None:
        transaction.connection.execute("INSERT INTO pabal_meta VALUES ('mine', 1)")
        raise ConfigurationError("on purpose")

    async with opened(path) as transport:
        writer = transport._writer
        results = await asyncio.gather(
            writer.write(lambda _: "first"), writer.write(fail), writer.write(lambda _: "last"), return_exceptions=True
        )
        assert [str(result) for result in results] == ["first", "on purpose", "last"]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT 1 FROM pabal_meta WHERE name = 'mine'").fetchone() is None


async def test_a_rolled_back_group_is_not_remembered(path: Path) -> None:
    """A routing that was read in a failed transaction is not taken for the one that comes to bear its epoch."""
    async with opened(path) as transport, opened(path) as other:
        group = await transport.subscribe(Source("a.b", "known"))

        def ghost(transaction: Transaction) -> None:
            transaction.connection.execute(
                "INSERT INTO pabal_group (source, name, taking) VALUES ('a.b', 'ghost', 'shared')"
            )
            transaction.connection.execute("UPDATE pabal_meta SET value = value + 1 WHERE name = 'routing'")
            transaction.routing()
            raise ConfigurationError("on purpose")

        with pytest.raises(ConfigurationError):
            await transport._writer.write(ghost)
        late = await other.subscribe(Source("a.b", "late"))
        receipts = await transport.publish(posts(b"hello"))
        assert receipts[0].receivers == 2
        assert bodies(await take(late, 1)) == bodies(await take(group, 1)) == [b"hello"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_ends_by_itself_leaves_nobody_waiting(path: Path) -> None:
    """Should the thread fail, waiting receivers and publishers get an error, and closing still works."""

    def burst(_: Box) -> None:
        raise AssertionError("on purpose")

    transport = transport_to(path)
    await transport.open()
    reader = await transport.subscribe(Source("a.b", "group"))
    receiving = asyncio.create_task(take(reader, 1))
    await asyncio.sleep(0)
    transport._writer.note(burst)
    publishing = asyncio.create_task(transport.publish(posts(b"lost?")))
    with pytest.raises(ConnectionFailed):
        await publishing
    with pytest.raises(ConnectionFailed):
        await receiving
    with pytest.raises(ConnectionFailed, match="on purpose"):
        await transport.publish(posts(b"later"))
    await transport.aclose()


def test_a_loop_that_ends_without_closing_takes_the_thread_with_it(path: Path) -> None:
    """Whoever forgets to close does not keep the process alive, nor the file open."""

    async def forgetful() -> threading.Thread:
        transport = transport_to(path)
        await transport.open()
        await transport.subscribe(Source("a.b", "group"))
        thread = transport._writer._thread
        assert thread is not None
        return thread

    thread = asyncio.run(forgetful())
    thread.join(5)
    assert not thread.is_alive()


FORKING = """
import asyncio, os, sys
from pathlib import Path
from pabal.model.errors import ConfigurationError
from tests.unit.messagebox.boxes import opened, posts

async def main():
    async with opened(Path(sys.argv[1])) as transport:
        await transport.publish(posts(b"parent"))
        child = os.fork()
        if not child:
            try:
                await transport.publish(posts(b"child"))
            except ConfigurationError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        await transport.publish(posts(b"parent"))
        print("parent done")

asyncio.run(main())
"""


def test_a_forked_child_is_refused(path: Path) -> None:
    """A child process does not use its parent's transport: it gets an error that says so, the parent goes on."""
    said = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            FORKING,
            str(path),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])},
    ).stdout.splitlines()
    assert "was opened before a fork; a child process opens its own transport" in said[0]
    assert said[1:] == ["parent done"]


async def test_unreadable_metadata_does_not_stop_a_reader(path: Path) -> None:
    """A row whose metadata or history nobody can read is delivered as its columns tell it."""
    async with opened(path) as transport:
        reader = await transport.subscribe(Source("a.b", "group"))
        await reader.aclose()
        (post,) = posts(b"body")
        await transport.publish([post])
        with closing(sqlite3.connect(path)) as foreign:
            foreign.execute("UPDATE pabal_message SET headers = x'ff', errors = '{'")
            foreign.commit()
        reader = await transport.subscribe(Source("a.b", "group"))
        (delivery,) = await take(reader, 1)
        assert (delivery.message.id, delivery.message.channel, delivery.message.body) == (
            post.message.id,
            "a.b",
            b"body",
        )
        assert "unreadable history" in delivery.errors[0].error


async def test_a_message_that_cannot_be_packed_is_its_receipts_error(path: Path) -> None:
    """Text that is no UTF-8 fails that message alone."""
    async with opened(path) as transport:
        receipts = await transport.publish([Post(message(key="\ud800")), Post(message())])
        assert [type(receipt.error) for receipt in receipts] == [CodecError, type(None)]
