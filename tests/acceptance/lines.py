"""``lines://``: an ordered transport that hands out several messages of one key to its one member, in their order."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.clock import Clock
from pabal.model.errors import ConnectionFailed
from pabal.model.message import Message
from pabal.model.outcome import Acked, Outcome, Rejected, Released, Retried, Settlement
from pabal.model.transport import Delivery, OnDead, Post, Receipt, Settled, Source


class Lines:
    """What one ``lines://`` URL has seen: its sources, and each settle call as body and outcome."""

    known: ClassVar[WeakValueDictionary[str, Lines]] = WeakValueDictionary()

    def __init__(self) -> None:
        name = uuid.uuid4().hex
        self.url = f"lines://{name}"
        self.sources: list[Source] = []
        self.calls: list[list[tuple[str, type[Outcome]]]] = []
        self.before_settle: Callable[[], Awaitable[object]] | None = None
        self.most_out: Counter[str] = Counter()
        self.known[name] = self


@dataclass(eq=False)
class Entry:
    message: Message
    attempt: int = 0
    due: float = 0.0
    out: bool = False
    behind: bool = False
    """Given back while earlier ones of its key were out: it comes again once those are settled."""


class LinesTransport:
    """Keeps the order of keys while it hands out as many of one key as are asked for."""

    best = Capabilities(
        groups=True,
        settles=Settles.EACH,
        order=Order.KEY,
        counts_attempts=True,
        delays_retry=True,
        parks=True,
        replays=True,
    )

    def __init__(self, address: Address, /, *, clock: Clock) -> None:
        self._lines = Lines.known[address.netloc]
        self._clock = clock
        self._subscriptions: list[LinesSubscription] = []

    async def open(self) -> Capabilities:
        return self.best

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        for subscription in self._subscriptions:
            subscription.put([post.message for post in posts])
        return [Receipt(post.message.id) for post in posts]

    async def subscribe(self, source: Source, /) -> LinesSubscription:
        self._lines.sources.append(source)
        subscription = LinesSubscription(self._lines, self._clock, source.on_dead)
        self._subscriptions.append(subscription)
        return subscription

    async def aclose(self) -> None:
        for subscription in self._subscriptions:
            await subscription.aclose()


class LinesSubscription:
    lease = None

    def __init__(self, lines: Lines, clock: Clock, on_dead: OnDead) -> None:
        self._lines = lines
        self._clock = clock
        self._on_dead = on_dead
        self._entries: list[Entry] = []
        self._dead: set[str] = set()
        self._came = asyncio.Event()
        self._closed = False

    def put(self, messages: Sequence[Message]) -> None:
        self._entries += [Entry(message) for message in messages]
        self._came.set()

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        while not self._closed:
            if taken := self._take(limit):
                return taken
            self._came.clear()
            await self._came.wait()
        raise ConnectionFailed("closed")

    def _take(self, limit: int) -> list[Delivery]:
        held_up = set(self._dead)
        taken: list[Delivery] = []
        out = {entry.message.key or "" for entry in self._entries if entry.out}
        for entry in self._entries:
            key = entry.message.key or ""
            if entry.out:
                continue
            entry.behind = entry.behind and key in out
            if key in held_up or entry.behind or entry.due > self._clock.time() or len(taken) == limit:
                held_up.add(key)  # nothing overtakes what is not out
                continue
            entry.out = True
            taken.append(Delivery(entry.message, entry.attempt + 1, token=entry))
        self._lines.most_out |= Counter(entry.message.key or "" for entry in self._entries if entry.out)
        return taken

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        if self._lines.before_settle is not None:
            await self._lines.before_settle()
        self._lines.calls.append([(one.delivery.message.body.decode(), type(one.outcome)) for one in settled])
        return [self._settle(one.delivery.token, one.outcome) for one in settled]

    def _settle(self, entry: Any, outcome: Outcome) -> Settlement:
        if entry not in self._entries:
            return Settlement.LOST
        entry.out = False
        of_key = [other for other in self._entries if other.message.key == entry.message.key]
        match outcome:
            case Retried(after):
                entry.attempt += 1
                entry.due = self._clock.time() + after
                self._clock.call_at(entry.due, self._came.set)
            case Released():
                entry.behind = any(other.out for other in of_key[: of_key.index(entry)])
            case Rejected() if self._on_dead == "park":
                self._dead.add(entry.message.key or "")
        if isinstance(outcome, Acked | Rejected):
            self._entries.remove(entry)
        self._came.set()
        return Settlement.DONE

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        return []

    def resize(self, window: int, /) -> None:
        pass

    async def aclose(self) -> None:
        self._closed = True
        self._came.set()
