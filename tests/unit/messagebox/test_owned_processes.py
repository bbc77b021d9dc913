"""Ordered groups on sqlite:// in real processes: one is killed, one is stopped for a while."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pabal.model.clock import SystemClock
from pabal.model.outcome import ACKED, Settlement
from pabal.model.transport import Post, Source
from tests.unit.messagebox.boxes import bodies, message, opened, settle, take

ROOT = Path(__file__).parents[3]
LEASE = 1.0
SOURCE = Source("a.b", "group", ordered=True)
PROGRAM = """
import asyncio, sys
from pathlib import Path
from pabal.model.clock import SystemClock
from pabal.model.outcome import ACKED
from pabal.model.transport import Source
from tests.unit.messagebox.boxes import opened, settle, take

def say(*words):
    print(*words, flush=True)

async def main():
    async with opened(Path(sys.argv[1]), SystemClock(), f"?lease={sys.argv[2]}") as transport:
        reader = await transport.subscribe(Source("a.b", "group", ordered=True))
        got = await take(reader, 2)
        say(*sorted(each.message.body.decode() for each in got))
        await asyncio.to_thread(sys.stdin.readline)
        say(*(each.name for each in await settle(reader, got, ACKED)))

asyncio.run(main())
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the first message of each of two keys in hand, until it is told to settle them."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(LEASE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    ) as process:
        try:
            assert read(process) == "a0 b0"
            yield process
        finally:
            process.kill()


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


async def line(path: Path) -> None:
    """Two messages of each of two keys for the group."""
    async with opened(path) as transport:
        await (await transport.subscribe(SOURCE)).aclose()
        await transport.publish(
            [Post(message(body=b"%s%d" % (key, n), key=key.decode())) for key in (b"a", b"b") for n in (0, 1)]
        )


async def taken_over(path: Path) -> None:
    """Another process gets what the first had in hand, counted, and then what follows."""
    async with opened(path, SystemClock(), f"?lease={LEASE}") as transport:
        reader = await transport.subscribe(SOURCE)
        async with asyncio.timeout(30):
            got = await take(reader, 2)
        assert sorted(bodies(got)) == [b"a0", b"b0"]
        assert {each.attempt for each in got} == {2}
        assert await settle(reader, got, ACKED) == [Settlement.DONE] * 2
        rest = await take(reader, 2)
        assert sorted(bodies(rest)) == [b"a1", b"b1"]
        assert await settle(reader, rest, ACKED) == [Settlement.DONE] * 2
        (status,) = await transport.groups()
        assert (status.ready, status.waiting, status.members) == (0, 0, 1)


async def test_a_killed_owner_is_taken_over(tmp_path: Path) -> None:
    """After kill -9 its keys go on elsewhere, beginning with what it had in hand."""
    path = tmp_path / "box.db"
    await line(path)
    with holder(path) as process:
        process.kill()
        await taken_over(path)


async def test_a_stopped_owner_finds_its_settlements_lost(tmp_path: Path) -> None:
    """After SIGSTOP for longer than the lease others have its keys, and what it then settles is lost."""
    path = tmp_path / "box.db"
    await line(path)
    with holder(path) as process:
        process.send_signal(signal.SIGSTOP)
        await taken_over(path)
        process.send_signal(signal.SIGCONT)
        say(process)
        assert read(process) == "LOST LOST"
