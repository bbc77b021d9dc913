"""Members of an ordered group are killed and frozen while they work: is any key out of order, is anything lost?

python -m tests.faults.ordered_kill [seconds]

Four processes read ten hot keys. Each message is written down, by one append to one file, before it is acknowledged:
what was handled first of each message must have the order of publishing in its key, and nothing may be missing.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from pabal.model.clock import SystemClock
from pabal.model.outcome import ACKED, Retried
from pabal.model.transport import Post, Settled, Source
from tests.unit.messagebox.boxes import message, opened

KEYS = 10
MEMBERS = 4
LEASE = 1.0
OPTIONS = f"?lease={LEASE}&synchronous=normal"
SOURCE = Source("a.b", "group", ordered=True, window=20)


@dataclass(frozen=True)
class Result:
    """What came of it: how many were published, handled (again, too), killed, frozen, and what went wrong."""

    published: int
    handled: int
    again: int
    killed: int
    frozen: int
    lost: int
    violations: int
    most_attempts: int


async def member(folder: Path) -> None:
    """Handle until killed: write it down, sometimes fail, acknowledge."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    chance = random.Random()  # noqa: S311 - chance, not secrets
    async with opened(folder / "box.db", SystemClock(), OPTIONS) as transport:
        reader = await transport.subscribe(SOURCE)
        print("ready", flush=True)
        while True:
            settled = []
            for delivery in await reader.receive(5):
                await asyncio.sleep(chance.random() * 0.002)
                os.write(log, b"%s %s %d\n" % (delivery.message.key.encode(), delivery.message.body, delivery.attempt))  # type: ignore[union-attr]
                outcome = Retried(chance.choice([0.0, 0.02])) if chance.random() < 0.02 else ACKED
                settled.append(Settled(delivery, outcome))
            await reader.settle(settled)


async def start(folder: Path) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.ordered_kill", "member", str(folder), stdout=PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def end(process: Process) -> None:
    process.kill()
    await process.communicate()


async def publish(folder: Path, until: float, published: Counter[str]) -> None:
    """A few messages at a time, numbered within their keys."""
    chance = random.Random(1)  # noqa: S311
    async with opened(folder / "box.db", SystemClock(), OPTIONS) as transport:
        while time.monotonic() < until:
            posts = []
            for _ in range(10):
                key = f"key-{chance.randrange(KEYS)}"
                posts.append(Post(message(key=key, body=b"%d" % published[key])))
                published[key] += 1
            await transport.publish(posts)
            await asyncio.sleep(0.02)


async def run(seconds: float, *, pause: float = 1.0) -> Result:
    """Kill or freeze a member every `pause` seconds, then let the rest be handled."""
    published: Counter[str] = Counter()
    killed = frozen = 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with opened(folder / "box.db", SystemClock(), OPTIONS) as transport:
            await (await transport.subscribe(SOURCE)).aclose()
            members = [await start(folder) for _ in range(MEMBERS)]
            publishing = asyncio.create_task(publish(folder, time.monotonic() + seconds, published))
            while not publishing.done():
                await asyncio.wait([publishing], timeout=pause)
                victim = members.pop(0)
                if killed % 3 == 2 and killed > 3 * frozen:
                    victim.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(3 * LEASE)
                    victim.send_signal(signal.SIGCONT)
                    members.append(victim)
                    frozen += 1
                else:
                    await end(victim)
                    members.append(await start(folder))
                    killed += 1
            await publishing
            left = 1
            while left:
                await asyncio.sleep(0.1)
                (status,) = await transport.groups()
                left = status.ready + status.waiting
            for process in members:
                await end(process)
        return judge((folder / "log").read_text(), published, killed, frozen)


def judge(log: str, published: Counter[str], killed: int, frozen: int) -> Result:
    first: dict[str, list[int]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    lines = [line.split() for line in log.splitlines()]
    for key, number, _ in lines:
        if (key, number) not in seen:
            seen.add((key, number))
            first[key].append(int(number))
    return Result(
        published=published.total(),
        handled=len(lines),
        again=len(lines) - len(seen),
        killed=killed,
        frozen=frozen,
        lost=published.total() - len(seen),
        violations=sum(a > b for numbers in first.values() for a, b in pairwise(numbers)),
        most_attempts=max(int(attempt) for *_, attempt in lines),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["member"]:
        asyncio.run(member(Path(sys.argv[2])))
    else:
        print(asyncio.run(run(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)))
