"""The transport of ``memory://``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import get_args

from msgspec.structs import replace

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.clock import Clock
from pabal.model.dead import Cause, Change, DeadLetter, LetterFilter, Redriven, tally
from pabal.model.errors import CapabilityError, ConfigurationError, ConnectionFailed
from pabal.model.message import Message, new_id
from pabal.model.names import check_group, check_source
from pabal.model.transport import Finding, GroupId, GroupStatus, OnDead, Post, Receipt, Source
from pabal.transports.memory.broker import Broker, check_size
from pabal.transports.memory.subscription import MemorySubscription, check_window

_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_shared: dict[str, Broker] = {}


@dataclass(frozen=True)
class MemoryOptions:
    """The options of ``memory://``: `lease` in seconds, `max_body` in bytes.

    `overflow` is how many messages may wait for a listener; what is published then becomes a dead letter.
    """

    lease: float = 30.0
    max_body: int = 16_777_216
    overflow: int = 10_000


class MemoryTransport:
    """A transport to a broker inside the process.

    ``memory://`` is private to the transport, ``memory://name`` is one broker for each name in the process:
    it keeps groups, backlogs and dead letters while no transport is open. One event loop at a time uses it. `broker` is
    one to use whatever the name.
    Implements `Transport`, `Requests`, `Parks` and `Administers`.
    """

    best = Capabilities(
        broadcast=True,
        groups=True,
        patterns=True,
        settles=Settles.EACH,
        order=Order.KEY,
        counts_attempts=True,
        counts_receivers=True,
        detects_unrouted=True,
        delays_retry=True,
        delays_publish=True,
        requests=True,
        parks=True,
        administers=True,
        examines=True,
        keeps_history=True,
    )

    def __init__(self, address: Address, /, *, clock: Clock, broker: Broker | None = None) -> None:
        self._address = address
        self._clock = clock
        self._options = address.options(MemoryOptions)
        name = address.netloc
        if address.username is not None or address.path not in ("", "/") or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"bad URL {address}: use memory://, or memory://name with letters, digits, _ . and -"
            )
        if self._options.lease <= 0 or self._options.max_body < 1 or self._options.overflow < 1:
            raise ConfigurationError(
                f"bad URL {address}: lease is more than 0 seconds, max_body and overflow are at least 1"
            )
        self._broker = broker or (_shared.setdefault(name, Broker(clock)) if name else Broker(clock))
        self._subscriptions: set[MemorySubscription] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._inbox: str | None = None
        self._closed = False

    def __str__(self) -> str:
        return str(self._address)

    async def open(self) -> Capabilities:
        """Take up the broker; opening twice is the same as once.

        Raises ConnectionFailed when closed, ConfigurationError while another event loop uses the broker.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ConnectionFailed(f"{self} is closed")
        if self._loop is not loop:
            self._broker.attach(self, loop, self._clock)
            self._loop, self._thread = loop, get_ident()
        return replace(self.best, max_body=self._options.max_body)

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Put messages into the queues of all who take them, in order; returns one receipt each."""
        return self._opened().publish(posts, self._options.max_body, self._options.overflow)

    async def subscribe(self, source: Source, /) -> MemorySubscription:
        """Register a reader, and its group where that is new; a group begins with the next message.

        Raises ConfigurationError for a bad name or window, and when the group is read in another way (ordered or not,
        and on_dead) by living members or has a backlog; CapabilityError for a `start`, since no log is kept.
        """
        broker = self._opened()
        if source.start is not None:
            raise CapabilityError(f"{self} keeps no log to choose a start in; leave start= out")
        check_source(source.channel)
        if source.group is not None:
            check_group(source.group)
        check_window(source.window)
        if source.on_dead not in get_args(OnDead):
            raise ConfigurationError(f"on_dead is one of {', '.join(get_args(OnDead))}, not {source.on_dead!r}")
        subscription = MemorySubscription(
            broker,
            broker.join(source),
            lease=self._options.lease,
            window=source.window,
            closed=self._subscriptions.discard,
        )
        self._subscriptions.add(subscription)
        return subscription

    async def aclose(self) -> None:
        """Close every subscription; a named broker stays. Safe to call twice."""
        self.close()

    def close(self) -> None:
        """What `aclose` does, at once."""
        if self._closed:
            return
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()
        if self._inbox is not None:
            del self._broker.inboxes[self._inbox]
        self._broker.detach(self)

    # Requests

    async def replies(self, receive: Callable[[str, Message | None], None], /) -> str:
        """Open the private way back, once; returns its address. Raises ConfigurationError the second time."""
        broker = self._opened()
        if self._inbox is not None:
            raise ConfigurationError(f"the way back of {self} is open already, it is {self._inbox}")
        self._inbox = f"pabal-replies.{new_id()}"
        broker.inboxes[self._inbox] = receive
        return self._inbox

    async def request(self, message: Message, /) -> Receipt:
        """Send a request to every group with a living member and to every listener."""
        return self._opened().request(message, self._options.max_body)

    async def reply(self, answer: Message, /) -> None:
        """Send an answer; nobody waiting for it is no error."""
        receive = self._opened().inboxes.get(answer.channel.rpartition(".")[0])
        if receive is not None:
            # By the loop, so that a fault in the asker's code is not the answerer's.
            asyncio.get_running_loop().call_soon(receive, answer.channel, answer)

    # Parks

    async def park(self, letters: Sequence[DeadLetter], /) -> None:
        """Keep dead letters; their own ids are given anew."""
        broker = self._opened()
        for letter in letters:
            broker.letters.keep(letter, broker.next_sequence())

    async def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """The dead letters that fit, oldest first."""
        for letter in self._opened().letters.find(wanted):
            yield letter

    async def causes(self, wanted: LetterFilter, /) -> Sequence[Cause]:
        return tally(self._opened().letters.find(wanted))

    async def redrive(self, ids: Sequence[str], /) -> Sequence[Redriven]:
        """Send dead letters again, at their old places in the queue; attempts begin again."""
        broker = self._opened()
        return [broker.redrive(id, self._options.overflow) for id in ids]

    async def pending(self, ids: Sequence[str], /) -> Sequence[str]:
        broker = self._opened()
        return [id for id in ids if broker.is_pending(id)]

    async def edit(self, id: str, change: Change, /) -> DeadLetter | None:
        letters = self._opened().letters
        kept = letters.get(id)
        if kept is None:
            return None
        check_size(change.apply(kept.letter.message)[0], self._options.max_body)
        return letters.edit(id, change)

    async def discard(self, ids: Sequence[str], /, *, sent: bool = False) -> int:
        broker = self._opened()
        return sum(broker.discard(id, sent=sent) for id in ids)

    # Administers

    async def groups(self) -> Sequence[GroupStatus]:
        """Every group there is."""
        return [queue.status(id.name) for id, queue in self._opened().groups.items()]

    async def remove(self, group: GroupId, /, *, discard: bool = False) -> int:
        """Remove a group; its backlog becomes dead letters (reason ``removed``) unless `discard`.

        Returns the size of the backlog. Raises ConfigurationError when there is no such group, or it has
        living members.
        """
        return self._opened().remove(group, discard=discard)

    async def findings(self) -> Sequence[Finding]:
        """What this broker is, and what weakens it."""
        broker = self._opened()
        kept = sum(len(queue.backlog()) for queue in broker.groups.values())
        return [
            Finding(
                "weak",
                f"{self} lives in the memory of this process: all of it is lost when the process ends, now "
                f"{kept} messages that nobody holds and {len(broker.letters)} dead letters",
            )
        ]

    def _opened(self) -> Broker:
        if self._closed:
            raise ConnectionFailed(f"{self} is closed")
        # A thread runs one loop at a time, and asking for it costs a system call on Python 3.11.
        if self._loop is None or not self._loop.is_running() or self._thread != get_ident():
            raise ConnectionFailed(f"{self} is not open in this event loop; await its open() here first")
        return self._broker
