"""Takes of a shared group: any sequence of taking, ending, extending and waiting agrees with a plain model."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pabal.messagebox.sqlite.box import Box
from pabal.messagebox.sqlite.groups import statuses
from pabal.messagebox.sqlite.lease import lease_of
from pabal.messagebox.sqlite.publish import draft, publish
from pabal.messagebox.sqlite.shared import SharedReader
from pabal.messagebox.sqlite.takes import RowLease
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.clock import VirtualClock
from pabal.model.outcome import ACKED, RELEASED, Outcome, Rejected, Retried, Settlement
from pabal.model.transport import Delivery, Post, Settled, Source
from tests.unit.messagebox.boxes import START, message

LEASE = 30.0
MEMBERS = st.integers(0, 1)


class Job(NamedTuple):
    work: Callable[[Transaction], Any]
    durable: bool = False


class Copy:
    """A message as the model knows it: ready from `due` on, unless somebody has it, and how often it was delivered."""

    def __init__(self, due: float) -> None:
        self.due = due
        self.attempts = 0
        self.holder: Delivery | None = None


class Takes(RuleBasedStateMachine):
    """Two processes read one group, each with deliveries in hand for as long as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock(START)
        self.folder = TemporaryDirectory(prefix="pabal-takes-")
        path = str(Path(self.folder.name) / "box.db")
        self.boxes = [Box(path, clock=self.clock, lease=LEASE, full=False, overflow=1000) for _ in range(2)]
        self.readers = [SharedReader(Source("a.b", "group"), print, lease=LEASE) for _ in range(2)]
        for box, reader in zip(self.boxes, self.readers, strict=True):
            box.file.open()
            self.do(box, partial(box.enter, reader=reader))
        self.copies: dict[bytes, Copy] = {}
        self.in_hand: list[list[Delivery]] = [[], []]
        self.names = (b"%d" % number for number in count())

    def teardown(self) -> None:
        """Close both."""
        for box in self.boxes:
            box.file.close()
        self.folder.cleanup()

    def do(self, box: Box, work: Callable[[Transaction], Any]) -> Any:
        """What a job comes to."""
        ((result, error),), _ = box.transact([Job(work)])
        assert error is None
        return result

    @property
    def now(self) -> float:
        """The time."""
        return self.clock.time()

    @rule(which=MEMBERS, number=st.integers(1, 8), delay=st.sampled_from([0.0, 0.0, 5.0]))
    def publish(self, which: int, number: int, delay: float) -> None:
        """Publish some messages."""
        due = self.now + delay
        sent = [Post(message(body=next(self.names)), due=due if delay else None) for _ in range(number)]
        self.do(self.boxes[which], partial(publish, drafts=[draft(post, max_body=100) for post in sent]))
        self.copies.update((post.message.body, Copy(due)) for post in sent)

    @rule(which=MEMBERS, most=st.integers(1, 6))
    def take(self, which: int, most: int) -> None:
        """Of what is ready as many as asked for come, none of them somebody else's, each counted."""
        box, reader = self.boxes[which], self.readers[which]
        ready = {body for body, copy in self.copies.items() if copy.due <= self.now}
        box.grant(reader, most)
        box.look()
        _, taken = box.transact([])
        box.withdraw(reader)
        deliveries = [delivery for _, rows in taken for delivery in rows.deliveries()]
        assert min(most, len(ready)) == len(deliveries)
        for delivery in deliveries:
            body = delivery.message.body
            assert body in ready
            ready.remove(body)
            copy = self.copies[body]
            copy.attempts += 1
            assert copy.attempts == delivery.attempt
            copy.holder, copy.due = delivery, self.now + LEASE
        self.in_hand[which] += deliveries

    def is_held(self, delivery: Delivery) -> bool:
        """Whether a delivery is still its holder's."""
        copy = self.copies.get(delivery.message.body)
        return copy is not None and copy.holder is delivery and copy.due > self.now

    @rule(
        which=MEMBERS,
        choice=st.lists(st.integers(0, 4), min_size=1, max_size=8),
        ends=st.lists(st.sampled_from("aaaarljx"), min_size=8, max_size=8),
    )
    def settle(self, which: int, choice: list[int], ends: list[str]) -> None:
        """What is still ours is done, once even when it is settled twice at once; the rest is lost."""
        hand = self.in_hand[which]
        chosen = [hand[-1 - index % len(hand)] for index in choice if hand]
        settled = [Settled(delivery, self.outcome(end)) for delivery, end in zip(chosen, ends, strict=False)]
        settlements = self.do(self.boxes[which], partial(self.readers[which].settle, settled=settled))
        for delivery in dict.fromkeys(chosen):
            done = [
                one.outcome
                for one, settlement in zip(settled, settlements, strict=True)
                if one.delivery is delivery and settlement is Settlement.DONE
            ]
            assert self.is_held(delivery) == len(done)
            for outcome in done:
                self.end(delivery, outcome)

    def outcome(self, end: str) -> Outcome:
        """An outcome for its letter."""
        outcomes: dict[str, Outcome] = {
            "a": ACKED,
            "r": Retried(0.0),
            "l": Retried(7.0),
            "j": Rejected("rejected"),
            "x": RELEASED,
        }
        return outcomes[end]

    def end(self, delivery: Delivery, outcome: Outcome) -> None:
        """What becomes of a message."""
        copy = self.copies[delivery.message.body]
        copy.holder = None
        match outcome:
            case Retried(after, _):
                copy.due = self.now + after
            case _ if outcome is RELEASED:
                copy.due, copy.attempts = self.now, copy.attempts - 1
            case _:
                del self.copies[delivery.message.body]

    @rule(which=MEMBERS, choice=st.lists(st.integers(0, 4), min_size=1, max_size=8, unique=True))
    def extend(self, which: int, choice: list[int]) -> None:
        """Extended is what is still ours, alone and together with what was taken with it."""
        hand = self.in_hand[which]
        chosen = list(dict.fromkeys(hand[-1 - index % len(hand)] for index in choice if hand))
        leases = [lease_of(delivery, RowLease) for delivery in chosen]
        kept = self.do(self.boxes[which], partial(self.readers[which].extend, leases=leases))
        assert [self.is_held(delivery) for delivery in chosen] == kept
        for delivery, ours in zip(chosen, kept, strict=True):
            if ours:
                self.copies[delivery.message.body].due = self.now + LEASE

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0, 31.0]))
    def wait(self, seconds: float) -> None:
        """Let leases and delays run out."""
        self.clock.advance(seconds)
        for copy in self.copies.values():
            if copy.due <= self.now:
                copy.holder = None

    @invariant()
    def counts(self) -> None:
        """An operator sees as much ready, waiting and leased as the model has."""
        copies = self.copies.values()
        leased = sum(copy.holder is not None for copy in copies)
        ready = sum(copy.due <= self.now for copy in copies)
        (status,) = self.boxes[0].file.read(self.status)
        assert (ready, len(copies) - ready - leased, leased) == (status.ready, status.waiting, status.leased)

    def status(self, connection: sqlite3.Connection) -> Any:
        """The group, as an operator sees it."""
        return statuses(connection, self.now)


TestTakes = Takes.TestCase
TestTakes.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
