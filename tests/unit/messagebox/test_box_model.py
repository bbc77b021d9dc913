"""Whatever members of a group do, come, go and die, in any order: a message box agrees with a plain model.

Nothing runs by itself here: each member's box is worked in the event loop, so that what fails fails again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from pabal.messagebox.sqlite.box import Box
from pabal.model.address import Address
from pabal.model.clock import VirtualClock, utc
from pabal.model.dead import DeadLetter
from pabal.model.outcome import ACKED, RELEASED, Failure, Outcome, Rejected, Retried, Settlement
from pabal.model.transport import Delivery, GroupId, OnDead, Post, Settled, Source
from pabal.testing.exploring.inline import InlineWriter
from pabal.transports.sql import SqliteTransport
from pabal.transports.sql.subscription import SqliteSubscription
from tests.unit.messagebox.boxes import START, all_letters, message

pytestmark = pytest.mark.timeout(600)  # what fails is shrunk, which takes long

LEASE = 30.0
GROUP = GroupId("a.b", "group")
KEYS = st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=4)
ENDS = st.sampled_from(["ack", "ack", "release", "again", "later", "reject"])
WHICH = st.integers(0, 3)


@dataclass
class Known:
    """A message as the model has it; `place` is its place in the order of publishing, once it is due."""

    id: str
    key: str | None
    place: int | None
    due: float = 0.0
    attempt: int = 0
    dead: bool = False
    held_until: float = 0.0
    """Nobody gets it before: a process that died may have been about to end it."""


@dataclass
class Member:
    """A process that reads the group."""

    transport: SqliteTransport
    writer: InlineWriter
    subscription: SqliteSubscription
    receiving: asyncio.Task[Any] | None = None
    out: dict[str, tuple[Delivery, float]] = field(default_factory=dict)  # until when each is ours
    lost: list[Delivery] = field(default_factory=list)  # others have got these


class Members(RuleBasedStateMachine):
    """A group that takes shared, with up to three members."""

    ordered = False
    on_dead: OnDead = "park"
    sure = LEASE
    """Seconds that a delivery is certainly its member's."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = VirtualClock(START)
        self.members: list[Member] = []
        self.alive: dict[str, Known] = {}
        self.published: set[str] = set()
        self.ended: set[str] = set()
        self.numbers = count(1)
        self.places = count(1)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(coroutine)

    # What happens.

    @initialize()
    def begin(self) -> None:
        """With somebody."""
        self.run(self._join())

    @precondition(lambda self: len(self.members) < 3)
    @rule()
    def join(self) -> None:
        """One more member."""
        self.run(self._join())

    async def _join(self) -> None:
        made: list[InlineWriter] = []

        def writing(box: Box, *, failed: Callable[[], object]) -> InlineWriter:
            made.append(InlineWriter(box, failed=failed, clock=self.clock))
            return made[0]

        address = Address(f"sqlite:///{Path(self.folder.name) / 'box.db'}?lease={LEASE}&synchronous=normal")
        transport = SqliteTransport(address, clock=self.clock, writing=writing)
        await transport.open()
        source = Source(*self._group(), ordered=self.ordered, window=4, on_dead=self.on_dead)
        self.members.append(Member(transport, made[0], await transport.subscribe(source)))
        await self._calm()

    def _group(self) -> tuple[str, str]:
        return GROUP.source, GROUP.name

    @precondition(lambda self: len(self.members) > 1)
    @rule(which=WHICH)
    def leave(self, which: int) -> None:
        """A member closes with things in hand, and gives them back."""
        self.run(self._leave(self._somebody(which)))

    async def _leave(self, member: Member) -> None:
        self.members.remove(member)
        await self._stop_receiving(member)
        await member.transport.aclose()
        await self._calm()

    @precondition(lambda self: len(self.members) > 1)
    @rule(which=WHICH)
    def die(self, which: int) -> None:
        """A member's process is gone, and nobody is told."""
        self.run(self._die(self._somebody(which)))

    async def _die(self, member: Member) -> None:
        self.members.remove(member)
        member.writer.sever()
        member.subscription.fail("its process is gone")  # nor does its clock go on
        await self._stop_receiving(member)
        for id, (_, until) in member.out.items():
            self.alive[id].held_until = until
        await self._calm()

    async def _stop_receiving(self, member: Member) -> None:
        if member.receiving is not None:
            member.receiving.add_done_callback(lambda task: task.cancelled() or task.exception())
            member.receiving.cancel()
            await asyncio.wait([member.receiving])

    @rule(which=WHICH, keys=KEYS, delay=st.sampled_from([None, None, 7.0]))
    def publish(self, which: int, keys: list[str | None], delay: float | None) -> None:
        """Some messages, in order, perhaps delayed."""
        self.run(self._publish(self._somebody(which), keys, delay))

    async def _publish(self, member: Member, keys: list[str | None], delay: float | None) -> None:
        due = None if delay is None else self.clock.time() + delay
        posts = [Post(replace(message(key=key), id=f"{next(self.numbers):04}"), due=due) for key in keys]
        for post in posts:
            place = next(self.places) if due is None else None
            self.alive[post.message.id] = Known(post.message.id, post.message.key, place, due or 0.0)
            self.published.add(post.message.id)
        assert [1] * len(posts) == [receipt.receivers for receipt in await member.transport.publish(posts)]
        await self._calm()

    @rule(which=WHICH, picks=st.lists(st.tuples(st.integers(0, 9), ENDS), min_size=1, max_size=4))
    def settle(self, which: int, picks: list[tuple[int, str]]) -> None:
        """A member ends some of what it has; what its lease was over for is lost, or still its own."""
        member = self._somebody(which)
        out = sorted(member.out)
        self.run(self._settle(member, {out[index % len(out)]: end for index, end in picks if out}))

    async def _settle(self, member: Member, ends: dict[str, str]) -> None:
        now = self.clock.time()
        settled = [Settled(member.out[id][0], self._outcome(member.out[id][0], end)) for id, end in ends.items()]
        settlements = await member.subscription.settle(settled)
        for (id, end), settlement in zip(ends.items(), settlements, strict=True):
            _, until = member.out.pop(id)
            assert until <= now or settlement is Settlement.DONE
            if settlement is Settlement.DONE:
                self._end(id, end)
        await self._calm()

    @precondition(lambda self: any(member.lost for member in self.members))
    @rule(end=ENDS)
    def settle_too_late(self, end: str) -> None:
        """Somebody who was slow ends what others have by now, which changes nothing."""
        self.run(self._settle_too_late(next(member for member in self.members if member.lost), end))

    async def _settle_too_late(self, member: Member, end: str) -> None:
        late, member.lost = member.lost, []
        settlements = await member.subscription.settle([Settled(each, self._outcome(each, end)) for each in late])
        assert [Settlement.LOST] * len(late) == list(settlements)
        assert late == list(await member.subscription.extend(late))
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

    def _end(self, id: str, end: str) -> None:
        known = self.alive[id]
        if end == "ack":
            del self.alive[id]
            self.ended.add(id)
        elif end == "reject":
            known.dead = True
        elif end in ("again", "later"):
            known.attempt += 1
            known.due = self.clock.time() + 10.0 if end == "later" else 0.0

    @rule(seconds=st.sampled_from([4.0, 9.0, 31.0]), extending=st.booleans())
    def time_passes(self, seconds: float, extending: bool) -> None:
        """Members look again and again, and extend what they have, or do not."""
        self.run(self._pass(seconds, extending=extending))

    async def _pass(self, seconds: float, *, extending: bool) -> None:
        while seconds > 0:
            self.clock.advance(min(seconds, 4.0))
            seconds -= 4.0
            for member in self.members if extending else ():
                await self._extend(member)
            await self._calm()

    async def _extend(self, member: Member) -> None:
        now, held = self.clock.time(), [delivery for delivery, _ in member.out.values()]
        lost = {each.message.id for each in await member.subscription.extend(held)}
        for id, (delivery, until) in list(member.out.items()):
            assert until <= now or id not in lost, "what is extended in time stays ours"
            if id in lost:
                member.lost.append(member.out.pop(id)[0])
            else:
                member.out[id] = delivery, now + self.sure

    # Dead letters.

    @rule(which=WHICH, key=st.sampled_from(["a", None]))
    def park(self, which: int, key: str | None) -> None:
        """A dead letter of this group comes from elsewhere; it holds back nobody."""
        parked = replace(message(key=key), id=f"{next(self.numbers):04}")
        letter = DeadLetter(
            id="",
            message=parked,
            reason="exhausted",
            source=GROUP.source,
            group=GROUP.name,
            parked=utc(self.clock.time()),
        )
        self.published.add(parked.id)
        self.alive[parked.id] = Known(parked.id, None, None, due=float("inf"), dead=True)
        self.run(self._somebody(which).transport.park([letter]))

    @precondition(lambda self: any(known.dead for known in self.alive.values()))
    @rule(which=WHICH, index=st.integers(0, 9), discarding=st.booleans())
    def decide(self, which: int, index: int, discarding: bool) -> None:
        """Redrive a dead letter, or discard it."""
        dead = sorted(known.id for known in self.alive.values() if known.dead)
        self.run(self._decide(self._somebody(which), dead[index % len(dead)], discarding=discarding))

    async def _decide(self, member: Member, id: str, *, discarding: bool) -> None:
        (letter,) = [each for each in await all_letters(member.transport) if each.message.id == id]
        if discarding:
            del self.alive[id]
            self.ended.add(id)
            assert 1 == await member.transport.discard([letter.id])
        else:
            known = self.alive[id]
            known.dead, known.attempt, known.due = False, 0, 0.0
            if known.place is None:
                known.place, known.key = next(self.places), None  # it was never in the order of its key
            assert [None] == [each.error for each in await member.transport.redrive([letter.id])]
        await self._calm()

    # What must hold.

    def _somebody(self, which: int) -> Member:
        return self.members[which % len(self.members)]

    async def _calm(self) -> None:
        """Let everything happen that can, and receive what there is."""
        ripe = [known for known in self.alive.values() if known.place is None and known.due <= self.clock.time()]
        for known in sorted(ripe, key=lambda known: (known.due, known.id)):
            known.place = next(self.places)
        for _ in range(200):
            for _ in range(4):
                await asyncio.sleep(0)
            looked = [member.writer.look() for member in self.members]
            received = [await self._receive(member) for member in self.members]
            if not any((*looked, *received)):
                return
        raise AssertionError("a box that nobody disturbs comes to rest")

    async def _receive(self, member: Member) -> bool:
        if member.receiving is None:
            member.receiving = asyncio.ensure_future(member.subscription.receive(100))
            await asyncio.sleep(0)
        if not member.receiving.done():
            return False
        received, member.receiving = member.receiving.result(), None
        for delivery in received:
            self._received(member, delivery)
        return True

    def _received(self, member: Member, delivery: Delivery) -> None:
        id, now = delivery.message.id, self.clock.time()
        known = self.alive.get(id)
        assert known is not None, "what is done does not come again"
        assert not known.dead
        assert known.due <= now
        assert known.held_until <= now, "a dead process's lease holds to its end"
        for other in self.members:
            if id in other.out:
                late, until = other.out.pop(id)
                assert until <= now, "what is leased comes to nobody else"
                other.lost.append(late)
        assert delivery.attempt >= known.attempt + 1
        known.attempt = delivery.attempt - 1
        known.held_until = 0.0
        member.out[id] = delivery, now + self.sure
        self._in_order(known)

    def _in_order(self, known: Known) -> None:
        """Of a shared group nothing is promised."""

    def teardown(self) -> None:
        """Whoever is left handles all that is left, and then there is nothing."""
        try:
            self.run(self._finish())
        finally:
            self.loop.close()
            self.folder.cleanup()

    async def _finish(self) -> None:
        if not self.members:
            return
        for member in self.members[1:]:
            await self._leave(member)
        (last,) = self.members
        for _ in range(60):
            await self._settle(last, dict.fromkeys(last.out, "ack"))
            for id in [known.id for known in self.alive.values() if known.dead]:
                await self._decide(last, id, discarding=False)
            if not self.alive:
                break
            await self._pass(4.0, extending=True)
        assert {} == self.alive
        assert self.published == self.ended
        assert [] == await all_letters(last.transport)
        await self._leave(last)


class Owners(Members):
    """A group whose members own keys; what follows a dead letter of its key waits."""

    ordered = True
    sure = LEASE / 2  # as long as the member's row, which is renewed at each third of the lease

    def _in_order(self, known: Known) -> None:
        before = [
            other.id
            for other in self.alive.values()
            if other.key == known.key is not None
            and (other.place or float("inf")) < (known.place or 0)
            and not (other.dead and self.on_dead == "continue")
        ]
        assert [] == before, "nothing that came before of its key is still to be done"
        out = [other for member in self.members for other in member.out if other != known.id]
        assert known.key is None or known.key not in [self.alive[other].key for other in out]


class Continuing(Owners):
    """The same, where what follows a dead letter goes on."""

    on_dead: OnDead = "continue"


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
TestShared = Members.TestCase
TestShared.settings = SETTINGS
TestOwned = Owners.TestCase
TestOwned.settings = SETTINGS
TestContinuing = Continuing.TestCase
TestContinuing.settings = SETTINGS
