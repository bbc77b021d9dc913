"""Any sequence of publishing, taking, settling, expiring, parking and redriving agrees with a plain model."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pabal.model.clock import VirtualClock, utc
from pabal.model.names import matcher
from pabal.model.outcome import ACKED, RELEASED, Failure, Outcome, Rejected, Retried, Settlement
from pabal.model.transport import Delivery, GroupId, Post, Settled, Source
from pabal.transports.sql import SqliteTransport
from tests.unit.messagebox.boxes import START, all_letters, message, take, transport_to

LEASE = 30.0
GROUPS = (GroupId("a.>", "one"), GroupId("a.b", "two"))
CHANNELS = st.sampled_from(["a.b", "a.b", "a.c", "z"])


@dataclass
class Copy:
    """One message in one group, as the model sees it."""

    due: float = 0.0
    attempt: int = 0
    failures: int = 0
    redrive: int = 0


@dataclass
class Model:
    backlog: dict[GroupId, dict[str, Copy]] = field(default_factory=lambda: {group: {} for group in GROUPS})
    dead: list[tuple[GroupId | None, str, str, int]] = field(default_factory=list)  # group, id, reason, redrives

    def ready(self, group: GroupId, now: float) -> dict[str, Copy]:
        return {id: copy for id, copy in self.backlog[group].items() if copy.due <= now}


class Box(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "box.db"
        self.clock = VirtualClock(START)
        self.model = Model()
        self.transports: list[SqliteTransport] = []
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        for _ in range(2):
            await self._open()
        for group in GROUPS:
            await (await self.transports[0].subscribe(Source(group.source, group.name))).aclose()

    async def _open(self) -> None:
        transport = transport_to(self.path, self.clock)
        await transport.open()
        self.transports.append(transport)

    def teardown(self) -> None:
        for transport in self.transports:
            self.loop.run_until_complete(transport.aclose())
        self.loop.close()
        self.folder.cleanup()

    @rule(
        which=st.integers(0, 1),
        channel=CHANNELS,
        count=st.integers(1, 4),
        delay=st.sampled_from([None, 0.0, 5.0, 100.0]),
        park=st.booleans(),
    )
    def publish(self, which: int, channel: str, count: int, delay: float | None, park: bool) -> None:
        """Publish to all groups there are."""
        due = None if delay is None else self.clock.time() + delay
        posts = [Post(message(channel), due=due, park=park) for _ in range(count)]
        receipts = self.loop.run_until_complete(self.transports[which].publish(posts))
        takers = [group for group in GROUPS if matcher(group.source)(channel)]
        assert [(each.routed, each.receivers, each.error) for each in receipts] == [
            (bool(takers), len(takers), None)
        ] * count
        for post in posts:
            for group in takers:
                self.model.backlog[group][post.message.id] = Copy(due or 0.0)
            if not takers and park:
                self.model.dead.append((None, post.message.id, "unrouted", 0))

    @rule(which=st.integers(0, 1), group=st.sampled_from(GROUPS), attempt=st.integers(0, 3))
    def publish_to_one(self, which: int, group: GroupId, attempt: int) -> None:
        """A copy for one group keeps its attempts and failures."""
        failures = tuple(Failure(utc(START), number, "before") for number in range(attempt))
        post = Post(message("a.b"), group=group, attempt=attempt, errors=failures)
        self.loop.run_until_complete(self.transports[which].publish([post]))
        self.model.backlog[group][post.message.id] = Copy(0.0, attempt, attempt)

    @rule(seconds=st.sampled_from([1.0, 5.0, 29.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        """Turn the clock."""
        self.loop.run_until_complete(self._advance(seconds))

    async def _advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(
        which=st.integers(0, 1),
        group=st.sampled_from(GROUPS),
        ends=st.lists(st.sampled_from(["ack", "reject", "later", "again", "release", "keep"]), min_size=1),
        late=st.booleans(),
    )
    def take_all(self, which: int, group: GroupId, ends: list[str], late: bool) -> None:
        """Take what is ready, end it (too late, perhaps), and close."""
        if self.model.ready(group, self.clock.time()):
            self.loop.run_until_complete(self._take_all(self.transports[which], group, ends, late=late))

    async def _take_all(self, transport: SqliteTransport, group: GroupId, ends: list[str], *, late: bool) -> None:
        ready = self.model.ready(group, self.clock.time())
        reader = await transport.subscribe(Source(group.source, group.name, window=len(ready) + 1))
        got = await take(reader, len(ready))
        assert {each.message.id: self._seen(each) for each in got} == {
            id: (copy.attempt + 1, copy.failures, copy.redrive) for id, copy in ready.items()
        }
        pairs = [(each, ends[number % len(ends)]) for number, each in enumerate(got)]
        settled = [Settled(each, self._outcome(each, end)) for each, end in pairs if end != "keep"]
        if late:
            await self._advance(LEASE)
            for copy in ready.values():
                copy.attempt += 1
        settlements = await reader.settle(settled)
        assert list(settlements) == [Settlement.LOST if late else Settlement.DONE] * len(settled)
        if not late:
            for each, end in pairs:
                self._end(group, each, end)
        await reader.aclose()

    def _seen(self, delivery: Delivery) -> tuple[int, int, int]:
        return delivery.attempt, len(delivery.errors), delivery.redrive

    def _outcome(self, delivery: Delivery, end: str) -> Outcome:
        failure = Failure(utc(self.clock.time()), delivery.attempt, "no")
        outcomes: dict[str, Outcome] = {
            "ack": ACKED,
            "release": RELEASED,
            "later": Retried(10.0, failure),
            "again": Retried(0.0, failure),
            "reject": Rejected("rejected", failure),
        }
        return outcomes[end]

    def _end(self, group: GroupId, delivery: Delivery, end: str) -> None:
        id = delivery.message.id
        copy = self.model.backlog[group][id]
        if end == "ack":
            del self.model.backlog[group][id]
        elif end == "reject":
            del self.model.backlog[group][id]
            self.model.dead.append((group, id, "rejected", copy.redrive))
        elif end in ("later", "again"):
            copy.attempt += 1
            copy.failures += 1
            copy.due = self.clock.time() + 10.0 if end == "later" else 0.0

    @precondition(lambda self: self.model.dead)
    @rule(which=st.integers(0, 1), data=st.data())
    def redrive(self, which: int, data: st.DataObject) -> None:
        """Send some dead letters again."""
        self.loop.run_until_complete(self._redrive(self.transports[which], data))

    async def _redrive(self, transport: SqliteTransport, data: st.DataObject) -> None:
        letters = await all_letters(transport)
        chosen = data.draw(st.lists(st.sampled_from(range(len(letters))), unique=True, min_size=1))
        results = await transport.redrive([letters[index].id for index in chosen])
        for index, result in zip(chosen, results, strict=True):
            letter = letters[index]
            group = None if letter.group is None else GroupId(str(letter.source), letter.group)
            takers = (
                [each for each in GROUPS if matcher(each.source)(letter.message.channel)] if group is None else [group]
            )
            assert (result.receivers, result.error is None) == (len(takers), bool(takers))
            if takers:
                self.model.dead.remove((group, letter.message.id, letter.reason, letter.redrives))
            for taker in takers:
                self.model.backlog[taker][letter.message.id] = Copy(redrive=letter.redrives + 1)

    @precondition(lambda self: self.model.dead)
    @rule(which=st.integers(0, 1), data=st.data())
    def discard(self, which: int, data: st.DataObject) -> None:
        """Delete one dead letter."""

        async def discard() -> None:
            letters = await all_letters(self.transports[which])
            letter = data.draw(st.sampled_from(letters))
            assert await self.transports[which].discard([letter.id]) == 1
            group = None if letter.group is None else GroupId(str(letter.source), letter.group)
            self.model.dead.remove((group, letter.message.id, letter.reason, letter.redrives))

        self.loop.run_until_complete(discard())

    @rule()
    def reopen(self) -> None:
        """Close everything and open it again."""

        async def reopen() -> None:
            for transport in self.transports:
                await transport.aclose()
            self.transports.clear()
            for _ in range(2):
                await self._open()

        self.loop.run_until_complete(reopen())

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every message is where the model has it, as an operator sees it."""
        self.loop.run_until_complete(self._compare())

    async def _compare(self) -> None:
        now = self.clock.time()
        statuses = {
            GroupId(each.source, each.name): (each.ready, each.waiting, each.leased, each.members)
            for each in await self.transports[1].groups()
        }
        assert statuses == {
            group: (len(ready), len(self.model.backlog[group]) - len(ready), 0, 0)
            for group in GROUPS
            for ready in [self.model.ready(group, now)]
        }
        letters = [
            (
                None if letter.group is None else GroupId(str(letter.source), letter.group),
                letter.message.id,
                letter.reason,
                letter.redrives,
            )
            for letter in await all_letters(self.transports[0])
        ]
        assert letters == self.model.dead


TestBox = Box.TestCase
TestBox.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
