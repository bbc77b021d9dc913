"""A scenario on its stage: publishers and workers at work in one place, the ledger that they write, and the end."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from uuid import uuid4

import msgspec

from pabal import Bus
from pabal.model.dead import DeadLetter
from pabal.runtime.reports import Unfinished
from tests.faults.account import Account, Book
from tests.faults.ledger import Ledger, Reading
from tests.faults.orders import Errand, Task
from tests.faults.player import Player
from tests.faults.subject import Subject
from tests.faults.waiting import until
from tests.servers.guard import Guard

PATIENCE = 90.0
"""Seconds to wait for anything: a busy machine is slow, a lost message never comes."""


class Drained(msgspec.Struct):
    """What ``pabal worker --json`` says at its end, as far as it counts here."""

    seconds: float
    handlers: dict[str, dict[str, int]]
    unfinished: list[Unfinished]

    @property
    def lost(self) -> int:
        """How many settlements were fenced: somebody else had the message by then."""
        return sum(counters["lost"] for counters in self.handlers.values())


class Scene:
    """What a scenario works with; made by `scene`."""

    def __init__(self, subject: Subject, folder: Path, *, seed: str, ordered: bool, lasting: float = 0.0) -> None:
        self.subject = subject
        self.folder = folder
        self.chance = random.Random(seed)  # noqa: S311 - chance, not secrets
        self.ordered = ordered
        self.lasting = lasting
        self.book = Book()
        self.seen: Counter[str] = Counter()
        self.workers: list[Player] = []
        self.publishers: list[Player] = []
        self.go = folder / "go"
        self.channel = f"faults.{uuid4().hex[:12]}"
        self._seed = seed
        self._path = folder / "ledger"
        self._reading = Reading(self._path)
        self._ledger = Ledger(self._path, "scenario")
        self._guard = Guard()
        self._numbers: Counter[str] = Counter()
        self._errands = count(1)

    async def worker(self, name: str, *, grace: float = 30.0, patient: bool = False) -> Player:
        """Start a worker; one of a name that was there before gets the next number."""
        self._numbers[name] += 1
        task = Task(
            who=f"{name}.{self._numbers[name]}",
            ledger=str(self._path),
            channel=self.channel,
            group="faults",
            go=str(self.go),
            ordered=self.ordered,
            grace=grace,
            patient=patient,
            dead_letters=self.subject.dead_letters,
        )
        command = [sys.executable, "-m", "pabal", "worker", "tests.faults.worker:bus", "--json"]
        player = self._player(name, command, '"running"', FAULTS=msgspec.json.encode(task).decode())
        self.workers.append(player)
        return await player.start()

    async def publisher(self, name: str, *, padding: int = 0) -> Player:
        """Start a publisher, likewise; `padding` makes its messages larger by so many bytes."""
        self._numbers[name] += 1
        who = f"{name}.{self._numbers[name]}"
        arguments = [who, str(self._path), self.channel, self._seed, str(padding), str(self.subject.timeout)]
        command = [sys.executable, "-m", "tests.faults.publisher", *arguments]
        player = self._player(name, command, "publishing")
        self.publishers.append(player)
        return await player.start()

    def _player(self, name: str, command: Sequence[str], ready: str, **environment: str) -> Player:
        return Player(
            name,
            command,
            environment={"PABAL_URL": self.subject.url, **self.subject.environment, **environment},
            folder=self.folder,
            guard=self._guard,
            ready=ready,
            number=self._numbers[name],
        )

    async def crew(self, *, grace: float = 30.0, patient: bool = False, padding: int = 0) -> None:
        """Start what is missing of three workers, then of two publishers: the group is there before the messages."""
        there = {player.who.partition(".")[0] for player in (*self.workers, *self.publishers)}
        workers = {"worker-1", "worker-2", "worker-3"} - there
        await asyncio.gather(*(self.worker(name, grace=grace, patient=patient) for name in sorted(workers)))
        publishers = {"publisher-1", "publisher-2"} - there
        await asyncio.gather(*(self.publisher(name, padding=padding) for name in sorted(publishers)))

    async def kill(self, player: Player) -> None:
        """Kill a worker or publisher, and forget it."""
        await player.kill()
        for players in self.workers, self.publishers:
            if player in players:
                players.remove(player)

    async def hold(self) -> tuple[str, Player]:
        """Publish a message that its handler holds until `go` is there; returns its id, and the worker that has it."""
        if self.ordered:
            await self.catch_up()  # it is handled in its turn
        errand = Errand(f"scenario-{next(self._errands)}", "hold")
        self._ledger.note("intended", errand.id, key=errand.id, fate=errand.fate)
        async with self._bus() as bus:
            await bus.publish(self.channel, errand, id=errand.id, key=errand.id)
        self._ledger.note("acknowledged", errand.id)
        await self.until(lambda: self.begun_by(errand.id) is not None, f"{errand.id} is begun")
        who = self.begun_by(errand.id)
        return errand.id, next(worker for worker in self.workers if worker.who == who)

    def begun_by(self, id: str) -> str | None:
        """Who began this message last."""
        return next((entry.who for entry in reversed(self.book.begun) if entry.id == id), None)

    async def until(self, is_so: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Read the ledger until it is so; raises AssertionError after `patience` seconds."""

        def look() -> bool:
            self.book.enter(self._reading.more())
            return is_so()

        await until(look, what, patience)

    async def comes_true(self, is_so: Callable[[], bool], patience: float) -> bool:
        """Read the ledger until it is so, at most `patience` seconds; returns whether it is."""
        try:
            await self.until(is_so, "", patience)
        except AssertionError:
            return False
        return True

    async def progress(self, *players: Player, what: str, by: int = 1) -> None:
        """Wait until each of them has acknowledged, failed to publish, begun or handled (`what`) so many more."""
        self.book.enter(self._reading.more())
        count = self.book.count
        wanted = {player.who: count[what, player.who] + by for player in players}
        await self.until(
            lambda: all(count[what, who] >= number for who, number in wanted.items()),
            f"{by} more {what} by each of {', '.join(wanted)}",
        )

    async def catch_up(self) -> None:
        """Let the publishers rest until the workers have handled all that was taken."""
        hush = self.folder / "hush"
        hush.touch()
        await self.until(lambda: not self.book.open(), "the workers have caught up")
        hush.unlink()

    async def stop_publishing(self) -> None:
        """Let the publishers end; each has to end well."""
        for publisher in self.publishers:
            publisher.terminate()
        for publisher in self.publishers:
            assert await publisher.ended() == 0, f"{publisher.who} failed; see {self.folder / publisher.who}.log"

    async def stop(self, worker: Player) -> Drained:
        """Drain a worker by SIGTERM; returns its report. It has to have finished all it had."""
        code = await worker.stop()
        report = drained(worker)
        assert (code, report.unfinished) == (0, []), f"{worker.who} ended with {code}: {report}"
        self.seen["fenced"] += report.lost
        self.workers.remove(worker)
        return report

    async def end(self) -> Account:
        """Publish no more, wait until all that was taken has come to its end, stop the workers, and judge.

        What never comes is lost: the wait for it has an end.
        """
        self.go.touch()
        await self.stop_publishing()
        try:
            await self.until(lambda: not self.book.open(), "all acknowledged messages are handled")
            await self._until_dead(self.book.to_die())
        except (AssertionError, TimeoutError) as error:
            self.book.strange.append(str(error))
        await asyncio.gather(*(self.stop(worker) for worker in tuple(self.workers)))
        self.book.enter(self._reading.more())
        apart = self.subject.dead_letters is not None
        return self.book.judge(await self._letters(), ordered=self.ordered, seen=self.seen, apart=apart)

    async def _until_dead(self, ids: set[str]) -> None:
        async with asyncio.timeout(PATIENCE):
            while ids - {letter.message.id for letter in await self._letters()}:  # noqa: ASYNC110 - as in `until`
                await asyncio.sleep(0.1)

    async def _letters(self) -> list[DeadLetter]:
        async with self._bus() as bus:
            return [letter async for letter in bus.dead_letters.list(channel=self.channel)]

    def _bus(self) -> Bus:
        return Bus(self.subject.url, dead_letters=self.subject.dead_letters)

    async def close(self) -> None:
        """End every process that is left."""
        for player in (*self.workers, *self.publishers):
            if player.alive:
                player.thaw()
                await player.kill()
        self._guard.close()
        self._reading.close()
        self._ledger.close()


def drained(worker: Player) -> Drained:
    """The report of a worker that has ended."""
    return msgspec.json.decode(next(line for line in worker.said if '"drained"' in line), type=Drained)
