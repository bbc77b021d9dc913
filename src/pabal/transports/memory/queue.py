"""The backlog of one group, or the private copies of one listener."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import chain
from typing import TYPE_CHECKING, Literal

from pabal.model.clock import Timer
from pabal.model.dead import HOLDING
from pabal.model.outcome import Reason
from pabal.model.transport import GroupStatus, Source
from pabal.transports.memory.lanes import Entry, Lanes

if TYPE_CHECKING:
    from pabal.transports.memory.broker import Broker
    from pabal.transports.memory.subscription import MemorySubscription


Mode = Literal["shared", "park", "continue"]
"""How a queue's messages are taken: in any order, or key by key, where a dead letter holds back its key or does not."""


def mode_of(source: Source) -> Mode:
    """The way in which a source is read."""
    return source.on_dead if source.ordered else "shared"


class Queue:
    """Messages in the order of their sequence numbers.

    New ones are appended; those that come again stand apart in a heap, and the lower sequence of the two
    heads goes first. `group` is None for a listener's private queue.
    """

    def __init__(self, broker: Broker, source: str, group: str | None, mode: Mode) -> None:
        self.source = source
        self.group = group
        self.members: set[MemorySubscription] = set()
        self._broker = broker
        self._fresh: deque[Entry] = deque()
        self._returned: list[tuple[int, Entry]] = []
        self._waiting: list[tuple[float, int, Entry]] = []
        self._receivers: dict[asyncio.Future[None], MemorySubscription] = {}
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self.read_as(mode)

    def read_as(self, mode: Mode) -> None:
        """Take messages in this way from now on; there is no backlog that was taken in another."""
        self.mode = mode
        self._lanes = Lanes() if mode != "shared" else None

    @property
    def waiting(self) -> int:
        """How many messages nobody holds."""
        behind = 0 if self._lanes is None else sum(1 for _ in self._lanes.behind())
        return len(self._fresh) + len(self._returned) + len(self._waiting) + behind

    # What comes in.

    def append(self, entry: Entry) -> None:
        """Take a new message."""
        self._fresh.append(entry)
        if self._receivers:
            self._rouse(1)

    def delay(self, entry: Entry, due: float) -> None:
        """Take a message that nobody gets before `due`; one without a sequence gets its place then."""
        heappush(self._waiting, (due, entry.sequence or self._broker.next_sequence(), entry))
        self.arm()

    def insert(self, entry: Entry) -> None:
        """Take a message at the place of its sequence: one that was given back, or redriven."""
        if self._lanes is not None:
            entry = self._lanes.give_back(entry)
        heappush(self._returned, (entry.sequence, entry))
        if self._receivers:
            self._rouse(1)

    # What goes out.

    def take(self, most: int) -> list[Entry]:
        """Take out up to `most` messages, and at most one member's fair share of what is ready."""
        fresh, returned = self._fresh, self._returned
        count = min(most, len(fresh) + len(returned))
        if len(self.members) > 1:
            count = min(most, -(-(len(fresh) + len(returned)) // self._takers()))
        if self._lanes is None and not returned:
            return [fresh.popleft() for _ in range(count)]
        taken: list[Entry] = []
        while len(taken) < count and (fresh or returned):
            if returned and not (fresh and fresh[0].sequence < returned[0][0]):
                entry = heappop(returned)[1]
            else:
                entry = fresh.popleft()
            if self._lanes is None or self._lanes.admit(entry):
                taken.append(entry)
        return taken

    def _takers(self) -> int:
        return sum(member.window > 0 for member in self.members) or 1

    def end(self, entry: Entry) -> None:
        """A message that was out is done."""
        entry.ended = True
        if self._lanes is not None and (follower := self._lanes.end(entry)) is not None:
            self.insert(follower)

    def bury(self, entry: Entry, reason: Reason) -> None:
        """A message that was out is a dead letter; a listener's holds back nothing."""
        if self._lanes is None or self.mode == "continue" or self.group is None or reason not in HOLDING:
            self.end(entry)
            return
        entry.ended = True
        if (earlier := self._lanes.bury(entry)) is not None:
            self.insert(earlier)

    def unearth(self, key: str | None, sequence: int) -> None:
        """A dead letter is gone: what it held back goes on."""
        if self._lanes is not None and (follower := self._lanes.unearth(key, sequence)) is not None:
            self.insert(follower)

    # Who waits.

    async def arrival(self, receiver: MemorySubscription) -> None:
        """Wait until something may be ready for `receiver`, or it was closed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._receivers[waiter] = receiver
        try:
            await waiter
        except asyncio.CancelledError:
            if self._receivers.pop(waiter, None) is None:
                self._rouse(1)  # it was roused already: what came is for somebody else now
            raise

    def leave(self, member: MemorySubscription) -> None:
        """`member` is closed: its own waiting ends, and what it was roused for goes to the others."""
        self.members.discard(member)
        for waiter in [waiter for waiter, receiver in self._receivers.items() if receiver is member]:
            del self._receivers[waiter]
            _wake(waiter)
        self.stir()

    def stir(self) -> None:
        """A member left or changed its window: whoever waits looks again."""
        self._rouse(len(self._fresh) + len(self._returned))

    def _rouse(self, count: int) -> None:
        for waiter, receiver in tuple(self._receivers.items()):
            if count < 1:
                return
            if receiver.window:
                del self._receivers[waiter]
                _wake(waiter)
                count -= 1

    # What is due later.

    def arm(self) -> None:
        """See to it that the earliest waiting message is noticed."""
        if not self._waiting or (self._timer is not None and self._timer_due <= self._waiting[0][0]):
            return
        self.disarm()
        self._timer_due = self._waiting[0][0]
        self._timer = self._broker.clock.call_at(self._timer_due, self._ripen)

    def disarm(self) -> None:
        """Call the timer off."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ripen(self) -> None:
        self._timer = None
        now = self._broker.clock.time()
        while self._waiting and self._waiting[0][0] <= now:
            entry = heappop(self._waiting)[2]
            if entry.sequence:
                self.insert(entry)
            else:
                entry.sequence = self._broker.next_sequence()
                self.append(entry)
        self.arm()

    # What an operator asks.

    def is_still(self, now: float) -> bool:
        """Whether nothing is ready, due or in hand."""
        lanes = self._lanes
        ready = self._fresh or self._returned if lanes is None else any(map(lanes.may_go, self._ready()))
        return not (
            ready or (self._waiting and self._waiting[0][0] <= now) or any(member.held() for member in self.members)
        )

    def backlog(self) -> list[Entry]:
        """All that nobody holds, in order."""
        return sorted(chain(self._ready(), self._later()), key=lambda entry: entry.sequence or float("inf"))

    def status(self, name: str) -> GroupStatus:
        """The queue as the group `name`."""
        ready, later = list(self._ready()), list(self._later())
        leased = [entry for member in self.members for entry in member.held()]
        return GroupStatus(
            source=self.source,
            name=name,
            ready=len(ready),
            waiting=len(later),
            leased=len(leased),
            oldest=min((entry.message.time for entry in chain(ready, later, leased)), default=None),
            members=len(self.members),
        )

    def _ready(self) -> Iterator[Entry]:
        yield from self._fresh
        for _, entry in self._returned:
            yield entry

    def _later(self) -> Iterator[Entry]:
        for _, _, entry in sorted(self._waiting, key=lambda waiting: waiting[:2]):
            yield entry
        if self._lanes is not None:
            yield from self._lanes.behind()


def _wake(waiter: asyncio.Future[None]) -> None:
    # Somebody who never closed a transport may have left a waiter of a loop that has ended.
    if not waiter.done() and not waiter.get_loop().is_closed():
        waiter.set_result(None)
