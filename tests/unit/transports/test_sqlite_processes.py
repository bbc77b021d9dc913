"""One box, several real processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from msgspec.structs import replace

from pabal.model.clock import SystemClock
from pabal.model.outcome import ACKED
from pabal.model.transport import Source
from tests.unit.messagebox.boxes import bodies, opened, posts, settle, take

ROOT = Path(__file__).parents[3]
PRELUDE = """
import asyncio, sys
from pathlib import Path
from pabal.model.clock import SystemClock
from pabal.model.outcome import ACKED
from pabal.model.transport import Source
from tests.unit.messagebox.boxes import opened, posts, settle, take

def say(*words):
    print(*words, flush=True)

async def heard():
    return await asyncio.to_thread(sys.stdin.readline)
"""


def start(path: Path, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"{PRELUDE}\nPATH = Path({str(path)!r})\n{program}\nasyncio.run(main())"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )


async def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return (await asyncio.to_thread(process.stdout.readline)).strip()


async def test_processes_divide_a_group(tmp_path: Path) -> None:
    """Two processes publish and two take, all at once: every message is handled once, none is left."""
    path, each = tmp_path / "box.db", 300
    async with opened(path, SystemClock()) as transport:
        await (await transport.subscribe(Source("a.>", "group"))).aclose()
        publisher = f"""
async def main():
    async with opened(PATH, SystemClock()) as transport:
        for number in range({each} // 10):
            for receipt in await transport.publish(posts(*[b"x"] * 10)):
                say(receipt.id)
"""
        taker = """
async def main():
    async with opened(PATH, SystemClock()) as transport:
        reader = await transport.subscribe(Source("a.>", "group", window=20))
        while True:
            for delivery in await reader.receive(20):
                await settle(reader, [delivery], ACKED)
                if delivery.message.body == b"end":
                    return
                say(delivery.message.id)
"""
        with ExitStack() as stack:
            publishers = [stack.enter_context(start(path, publisher)) for _ in range(2)]
            takers = [stack.enter_context(start(path, taker)) for _ in range(2)]
            published = await asyncio.gather(*(asyncio.to_thread(p.communicate) for p in publishers))
            # Each taker ends with one end: what was published before has been taken by then.
            await transport.publish(posts(b"end"))
            ended = [asyncio.create_task(asyncio.to_thread(taker.communicate)) for taker in takers]
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            await transport.publish(posts(b"end"))
            handled = await asyncio.gather(*ended)
        sent = sorted(id for out, _ in published for id in out.split())
        assert len(sent) == 2 * each
        assert sorted(id for out, _ in handled for id in out.split()) == sent
        (status,) = await transport.groups()
        assert (status.ready, status.waiting, status.leased) == (0, 0, 0)


async def test_a_killed_takers_messages_come_back_within_the_lease(tmp_path: Path) -> None:
    """After kill -9 another process gets what the dead one held as soon as the lease is over, counted."""
    path, lease = tmp_path / "box.db", 1.0
    async with opened(path, SystemClock(), f"?lease={lease}") as transport:
        await (await transport.subscribe(Source("a.b", "group"))).aclose()
        await transport.publish(posts(b"1", b"2", b"3"))
        taker = start(
            path,
            f"""
async def main():
    async with opened(PATH, SystemClock(), "?lease={lease}") as transport:
        reader = await transport.subscribe(Source("a.b", "group"))
        await take(reader, 3)
        say("taken")
        await heard()
""",
        )
        assert await line(taker) == "taken"
        taker.kill()
        killed = time.monotonic()
        taker.communicate()
        reader = await transport.subscribe(Source("a.b", "group"))
        got = await take(reader, 3)
        assert time.monotonic() - killed < lease + 1.0
        assert bodies(got) == [b"1", b"2", b"3"]
        assert {delivery.attempt for delivery in got} == {2}
        await settle(reader, got, ACKED)


async def test_a_publish_that_returned_survives_kill_9(tmp_path: Path) -> None:
    """A publisher that is killed at any moment has lost nothing that it was told is published."""
    path = tmp_path / "box.db"
    async with opened(path, SystemClock()) as transport:
        await (await transport.subscribe(Source("a.b", "group"))).aclose()
        publisher = start(
            path,
            """
async def main():
    async with opened(PATH, SystemClock()) as transport:
        while True:
            for receipt in await transport.publish(posts(b"x", b"y", b"z")):
                say(receipt.id)
""",
        )
        told = [await line(publisher) for _ in range(100)]
        publisher.kill()
        assert publisher.stdout is not None
        rest = publisher.stdout.read()
        publisher.communicate()
        told += [id for id in rest.split() if len(id) == len(told[0])]
        reader = await transport.subscribe(Source("a.b", "group"))
        (status,) = await transport.groups()
        kept = [each.message.id for each in await take(reader, status.ready + status.leased)]
        assert kept[: len(told)] == told
        assert len(kept) % 3 == 0


async def test_a_request_is_answered_by_another_process(tmp_path: Path) -> None:
    """Commits of other processes are noticed in both directions; a dead answerer is known once its time is over."""
    path = tmp_path / "box.db"
    async with opened(path, SystemClock(), "?lease=0.5") as transport:
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        def receive(_: str, answer: object) -> None:
            answers.put_nowait(answer.body)  # type: ignore[attr-defined]

        address = await transport.replies(receive)
        answerer = start(
            path,
            """
from tests.unit.messagebox.boxes import message
async def main():
    async with opened(PATH, SystemClock(), "?lease=0.5") as transport:
        reader = await transport.subscribe(Source("ask", "answerers"))
        say("ready")
        while True:
            for delivery in await reader.receive(1):
                await transport.reply(message(delivery.message.reply_to, b"re: " + delivery.message.body))
                await settle(reader, [delivery], ACKED)
""",
        )
        assert await line(answerer) == "ready"
        (post,) = posts(b"question", channel="ask")
        receipt = await transport.request(replace(post.message, reply_to=f"{address}.1"))
        assert (receipt.routed, receipt.receivers) == (True, 1)
        assert await answers.get() == b"re: question"
        answerer.kill()
        answerer.communicate()
        while (await transport.request(replace(post.message, reply_to=f"{address}.2"))).routed:
            pass  # its lease is half a second
