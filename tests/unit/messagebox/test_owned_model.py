"""Whatever happens to the members of an ordered group, each key keeps its order and no message is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from zlib import crc32

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from pabal.messagebox.sqlite.owned import OwnedReader
from pabal.model.clock import VirtualClock, utc
from pabal.model.outcome import ACKED, RELEASED, Failure, Outcome, Rejected, Retried, Settlement
from pabal.model.transport import Delivery, OnDead, Post, Settled, Source
from pabal.transports.sql import SqliteTransport
from pabal.transports.sql.subscription import SqliteSubscription
from tests.unit.messagebox.boxes import START, all_letters, message, transport_to

LEASE = 30.0
KEYS = st.sampled_from(["a", "b", "c", None])
ENDS = st.sampled_from(["ack", "ack", "ack", "release", "again", "later", "reject"])


@dataclass
class Known:
    """A message, as the model knows it; `place` is None while a delayed publish waits for its time."""

    id: str
    key: str | None
    place: int | None
    due: float = 0.0
    attempt: int = 0
    dead: bool = False


@dataclass
class Member:
    """One process, simulated by a transport of its own."""

    transport: SqliteTransport
    subscription: SqliteSubscription
    out: dict[str, Delivery] = field(default_factory=dict)
    thaw: threading.Event | None = None

    @property
    def frozen(self) -> bool:
        return self.thaw is not None

    @property
    def reader(self) -> OwnedReader:
        assert isinstance(self.subscription.reader, OwnedReader)
        return self.subscription.reader


class Owned(RuleBasedStateMachine):
    """Up to four members of one ordered group, on one file and one clock."""

    on_dead: OnDead = "park"
    window = 4
    roomy = True  # all that is published fits into the memory of a member

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = VirtualClock(START)
        self.members: list[Member] = []
        self.gone: list[Member] = []
        self.alive: dict[str, Known] = {}
        self.published: set[str] = set()
        self.ended: set[str] = set()
        self.places = 0
        self.numbers = count()
        self.watch: sqlite3.Connection | None = None

    def run(self, coroutine: object) -> None:
        self.loop.run_until_complete(asyncio.wait_for(coroutine, 20))  # type: ignore[arg-type]

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        """Some members."""
        for _ in range(count):
            self.run(self._join())

    # What happens.

    @rule(
        which=st.integers(0, 3), keys=st.lists(KEYS, min_size=1, max_size=6), delay=st.sampled_from([None, None, 7.0])
    )
    def publish(self, which: int, keys: list[str | None], delay: float | None) -> None:
        """Some messages, in order, perhaps delayed."""
        self.run(self._publish(which, keys, delay))

    async def _publish(self, which: int, keys: list[str | None], delay: float | None) -> None:
        due = None if delay is None else self.clock.time() + delay
        posts = [Post(replace(message(key=key), id=f"{next(self.numbers):04}"), due=due) for key in keys]
        for post in posts:
            place = self._next_place() if due is None else None
            self.alive[post.message.id] = Known(post.message.id, post.message.key, place, due or 0.0)
            self.published.add(post.message.id)
        await self._somebody(which).transport.publish(posts)
        await self._calm()

    @rule(picks=st.lists(st.tuples(st.integers(0, 30), ENDS), min_size=1, max_size=6))
    def settle(self, picks: list[tuple[int, str]]) -> None:
        """The members end some of what they have, each its own at once."""
        out = sorted(id for member in self.living() for id in member.out)
        wanted = {out[index % len(out)]: end for index, end in picks if out}
        for member in self.living():
            mine = [(id, end) for id, end in wanted.items() if id in member.out]
            if mine:
                self.run(self._settle(member, mine))

    async def _settle(self, member: Member, ends: list[tuple[str, str]]) -> None:
        settled = [Settled(member.out[id], self._outcome(member.out[id], end)) for id, end in ends]
        for id, end in ends:
            del member.out[id]
            known = self.alive[id]
            if end == "ack":
                del self.alive[id]
                self.ended.add(id)
            elif end == "reject":
                known.dead = True
            elif end in ("again", "later"):
                known.attempt += 1
                known.due = self.clock.time() + 10.0 if end == "later" else 0.0
        assert list(await member.subscription.settle(settled)) == [Settlement.DONE] * len(settled)
        await self._calm()

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

    @rule(seconds=st.sampled_from([1.0, 8.0, 25.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        """Everyone who is alive extends what it has."""
        self.run(self._pass(seconds))

    async def _pass(self, seconds: float) -> None:
        while seconds > 0:
            self.clock.advance(min(seconds, 5.0))
            seconds -= 5.0
            for member in self.living():
                assert list(await member.subscription.extend(list(member.out.values()))) == []
            await self._calm()

    @rule()
    def neglect(self) -> None:
        """Nobody extends anything until all leases are over: all comes again, counted."""
        self.run(self._neglect())

    async def _neglect(self) -> None:
        self.clock.advance(LEASE)
        for member in self.living():
            for id in member.out:
                self.alive[id].attempt += 1
            late = [Settled(delivery, ACKED) for delivery in member.out.values()]
            member.out.clear()
            assert list(await member.subscription.settle(late)) == [Settlement.LOST] * len(late)
        await self._calm()

    # Who is there.

    @precondition(lambda self: len(self.members) < 4)
    @rule()
    def join(self) -> None:
        """One more."""
        self.run(self._join())

    async def _join(self) -> None:
        transport = transport_to(Path(self.folder.name) / "box.db", self.clock, f"?lease={LEASE}")
        await transport.open()
        source = Source("a.b", "group", ordered=True, window=self.window, on_dead=self.on_dead)
        self.members.append(Member(transport, await transport.subscribe(source)))
        await self._calm()

    @precondition(lambda self: len(self.living()) > 1)
    @rule(which=st.integers(0, 3))
    def leave(self, which: int) -> None:
        """A member closes with things in hand."""
        member = self._somebody(which)
        self.members.remove(member)
        self.gone.append(member)
        member.out.clear()
        self.run(self._leave(member))

    async def _leave(self, member: Member) -> None:
        await member.subscription.aclose()
        await self._calm()

    @precondition(lambda self: len(self.living()) > 1)
    @rule(which=st.integers(0, 3))
    def freeze(self, which: int) -> None:
        """A process stands still, its thread and its loop."""
        member = self._somebody(which)
        member.thaw = threading.Event()
        thaw = member.thaw
        member.transport._writer.note(lambda _: thaw.wait())

    @precondition(lambda self: any(member.frozen for member in self.members))
    @rule()
    def thaw(self) -> None:
        """A frozen process goes on: what it has is lost if it was taken for dead, else still its own if in time."""
        self.run(self._thaw(next(member for member in self.members if member.frozen)))

    async def _thaw(self, member: Member) -> None:
        assert member.thaw is not None
        member.thaw.set()
        member.thaw = None
        held, member.out = member.out, {}
        lost = {each.message.id for each in await member.subscription.extend(list(held.values()))}
        member.out = {id: delivery for id, delivery in held.items() if id not in lost}
        await self._calm()

    # Dead letters.

    @rule(index=st.integers(0, 10), discard=st.booleans())
    def deal_with_a_letter(self, index: int, discard: bool) -> None:
        """Redrive one, or discard it."""
        dead = sorted(known.id for known in self.alive.values() if known.dead)
        if dead:
            self.run(self._letter(dead[index % len(dead)], discard=discard))

    async def _letter(self, id: str, *, discard: bool) -> None:
        transport = self._somebody(0).transport
        (letter,) = [letter for letter in await all_letters(transport) if letter.message.id == id]
        known = self.alive[id]
        if discard:
            del self.alive[id]
            self.ended.add(id)
            assert await transport.discard([letter.id]) == 1
        else:
            known.dead, known.attempt = False, 0
            assert [each.error for each in await transport.redrive([letter.id])] == [None]
        await self._calm()

    # What must hold.

    def living(self) -> list[Member]:
        return [member for member in self.members if not member.frozen]

    def _somebody(self, which: int) -> Member:
        living = self.living()
        return living[which % len(living)]

    def _next_place(self) -> int:
        self.places += 1
        return self.places

    async def _calm(self) -> None:
        """Wait until everything that can happen has happened, and receive all there is."""
        ripe = [known for known in self.alive.values() if known.place is None and known.due <= self.clock.time()]
        for known in sorted(ripe, key=lambda known: known.due):
            known.place = self._next_place()
        quiet = False
        while not quiet:
            version = self._version()
            quiet = True
            for member in self.living():
                await member.transport._writer.write(lambda _: None)
                quiet = quiet and await member.transport._writer.tell(lambda box: box.patience() > 0)
                while member.subscription._buffer:
                    quiet = False
                    for delivery in await member.subscription.receive(100):
                        self._received(member, delivery)
            quiet = quiet and version == self._version()

    def _version(self) -> int:
        if self.watch is None:
            self.watch = sqlite3.connect(Path(self.folder.name) / "box.db")
        return int(self.watch.execute("PRAGMA data_version").fetchone()[0])

    def _received(self, member: Member, delivery: Delivery) -> None:
        id = delivery.message.id
        known = self.alive.get(id)
        assert known is not None, "what is done does not come again"
        assert not known.dead
        assert known.place is not None
        assert known.due <= self.clock.time()
        before = [
            other.id
            for other in self.alive.values()
            if other.key == known.key is not None
            and other.place is not None
            and other.place < known.place
            and not (other.dead and self.on_dead == "continue")
        ]
        assert before == [], "nothing that came before of its key is still to be done"
        out = [other for each in self.living() for other in each.out.values() if other.message.key is not None]
        assert known.key not in [other.message.key for other in out]
        assert not any(id in each.out for each in self.living())
        assert delivery.attempt >= known.attempt + 1
        known.attempt = delivery.attempt - 1
        member.out[id] = delivery

    @invariant()
    def what_can_go_is_out(self) -> None:
        """The first of each key is out with whoever owns its part, unless its part changes hands or was unclean."""
        if any(member.frozen for member in self.members) or not self.members:
            return
        out = {id for member in self.members for id in member.out}
        free = {
            number
            for member in self.members
            for number, part in member.reader.stock.parts.items()
            if not part.closed and not part.suspects
        }
        # What was redriven waits for a later one of its key that was let run meanwhile.
        busy = {self.alive[id].key for id in out if id in self.alive and self.on_dead == "continue"} - {None}
        first: dict[object, Known] = {}
        for known in sorted(self.alive.values(), key=lambda known: known.place or 0):
            if known.place is not None and not (known.dead and self.on_dead == "continue"):
                first.setdefault(known.key or known.id, known)
        for known in first.values():
            if self.roomy and known.due <= self.clock.time() and not known.dead and self._part(known) in free:
                assert known.id in out or known.key in busy
        owned = sorted(number for member in self.members for number in member.reader.stock.parts)
        assert owned == list(range(64))

    def _part(self, known: Known) -> int:
        return crc32((known.key or known.id).encode()) % 64

    def teardown(self) -> None:
        """All that is left is handled in order, and then nothing is left."""
        try:
            self.run(self._finish())
        finally:
            if self.watch is not None:
                self.watch.close()
            self.loop.close()
            self.folder.cleanup()

    async def _finish(self) -> None:
        for member in self.members:
            if member.thaw is not None:
                member.thaw.set()
                member.thaw = None
        for member in self.members + self.gone:
            await member.transport.aclose()
        self.members.clear()
        await self._join()
        (last,) = self.members
        for _ in self._rounds():
            while last.out:
                await self._settle(last, [(id, "ack") for id in list(last.out)])
            for id in [known.id for known in self.alive.values() if known.dead]:
                await self._letter(id, discard=False)
            await self._pass(10.0)
        assert list(self.alive) == []
        assert self.ended == self.published
        (status,) = await last.transport.groups()
        assert (status.ready, status.waiting, status.leased, status.members) == (0, 0, 0, 1)
        assert await all_letters(last.transport) == []
        await last.transport.aclose()

    def _rounds(self) -> Iterator[int]:
        for number in range(30):
            if not self.alive:
                return
            yield number


class Continuing(Owned):
    on_dead: OnDead = "continue"


class Narrow(Owned):
    """Members that have room for ten rows in memory, so that the ends of long lines step aside."""

    window = 1
    roomy = False

    @rule(which=st.integers(0, 3), keys=st.lists(KEYS, min_size=10, max_size=30))
    def publish_many(self, which: int, keys: list[str | None]) -> None:
        """More than there is room for."""
        self.run(self._publish(which, keys, None))


SETTINGS = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
TestParking = Owned.TestCase
TestParking.settings = SETTINGS
TestContinuing = Continuing.TestCase
TestContinuing.settings = SETTINGS
TestNarrow = Narrow.TestCase
TestNarrow.settings = SETTINGS
