"""Members of an ordered group are killed and frozen while they work: is any key out of order, is anything lost?

python -m tests.faults.ordered_kill [seconds]

Four processes read ten hot keys. Every second one of them is killed and at once replaced, and beside that one after
the other is frozen for three leases. Each message is written down, by one append to one file, before it is
acknowledged: what was handled first of each message must have the order of publishing in its key, and nothing may be
missing.
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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
PATIENCE = 60.0
"""Seconds after the last kill in which all that is left has to be handled."""


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


# The members, each a process of its own.


async def member(folder: Path, parent: int) -> None:
    """Handle until killed, or orphaned: write it down, sometimes fail, acknowledge."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    chance = random.Random()  # noqa: S311 - chance, not secrets
    async with opened(folder / "box.db", SystemClock(), OPTIONS) as transport:
        reader = await transport.subscribe(SOURCE)
        while os.getppid() == parent:
            settled = []
            for delivery in await reader.receive(5):
                await asyncio.sleep(chance.random() * 0.002)
                os.write(log, b"%s %s %d\n" % (delivery.message.key.encode(), delivery.message.body, delivery.attempt))  # type: ignore[union-attr]
                outcome = Retried(chance.choice([0.0, 0.02, 0.3])) if chance.random() < 0.02 else ACKED
                settled.append(Settled(delivery, outcome))
            await reader.settle(settled)


def nursery(folder: Path) -> None:
    """Fork a member for each line that comes, and say its id: all is imported already, so it works at once."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    nurse = os.getpid()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(member(folder, nurse))
            os._exit(0)
        print(child, flush=True)


class Crew:
    """The members there are; `awake` are those that are not frozen, the oldest first."""

    def __init__(self, nurse: Process) -> None:
        self.awake: list[int] = []
        self.killed = 0
        self.frozen = 0
        self._asleep: set[int] = set()
        self._nurse = nurse

    async def add(self) -> None:
        """One more."""
        assert self._nurse.stdin is not None
        assert self._nurse.stdout is not None
        self._nurse.stdin.write(b"\n")
        self.awake.append(int(await self._nurse.stdout.readline()))

    async def kill(self) -> None:
        """Kill the oldest, and replace it."""
        os.kill(self.awake.pop(0), signal.SIGKILL)
        self.killed += 1
        await self.add()

    async def freeze(self, seconds: float) -> None:
        """Let the youngest stand still for a while."""
        sleeper = self.awake.pop()
        self._asleep.add(sleeper)
        os.kill(sleeper, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(sleeper, signal.SIGCONT)
            self._asleep.discard(sleeper)
            self.awake.append(sleeper)
            self.frozen += 1

    def end(self) -> None:
        """Kill all."""
        for each in (*self.awake, *self._asleep):
            os.kill(each, signal.SIGKILL)


@asynccontextmanager
async def crew(folder: Path) -> AsyncIterator[Crew]:
    """Members until the end."""
    nurse = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.ordered_kill", "nursery", str(folder), stdin=PIPE, stdout=PIPE
    )
    members = Crew(nurse)
    try:
        for _ in range(MEMBERS):
            await members.add()
        yield members
    finally:
        members.end()
        nurse.kill()
        await nurse.communicate()


# What is done to them.


async def publish(folder: Path, published: Counter[str]) -> None:
    """A few messages at a time, numbered within their keys, until cancelled."""
    chance = random.Random(1)  # noqa: S311
    async with opened(folder / "box.db", SystemClock(), OPTIONS) as transport:
        while True:
            posts = []
            for _ in range(10):
                key = f"key-{chance.randrange(KEYS)}"
                posts.append(Post(message(key=key, body=b"%d" % published[key])))
                published[key] += 1
            await asyncio.shield(transport.publish(posts))
            await asyncio.sleep(0.02)


async def freeze_on(members: Crew, every: float) -> None:
    """Freeze one after the other, until cancelled."""
    while True:
        await asyncio.sleep(every)
        await members.freeze(3 * LEASE)


async def disturb(members: Crew, folder: Path, published: Counter[str], seconds: float, pause: float) -> None:
    """Kill a member every `pause` seconds, while messages are published and others are frozen."""
    async with asyncio.TaskGroup() as tasks:
        others = [tasks.create_task(publish(folder, published)), tasks.create_task(freeze_on(members, pause))]
        begun = time.monotonic()
        for number in range(round(seconds / pause)):
            await asyncio.sleep(begun + (number + 1) * pause - time.monotonic())
            await members.kill()
        for task in others:
            task.cancel()


async def run(seconds: float, *, pause: float = 1.0) -> Result:
    """Kill a member every `pause` seconds and freeze others meanwhile, then let the rest be handled."""
    published: Counter[str] = Counter()
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with opened(folder / "box.db", SystemClock(), OPTIONS) as transport:
            await (await transport.subscribe(SOURCE)).aclose()
            async with crew(folder) as members:
                await disturb(members, folder, published, seconds, pause)
                left, until = 1, time.monotonic() + PATIENCE
                while left and time.monotonic() < until:
                    await asyncio.sleep(0.1)
                    (status,) = await transport.groups()
                    left = status.ready + status.waiting
        return judge((folder / "log").read_text(), published, members.killed, members.frozen)


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
    if sys.argv[1:2] == ["nursery"]:
        nursery(Path(sys.argv[2]))
    else:
        print(asyncio.run(run(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)))
