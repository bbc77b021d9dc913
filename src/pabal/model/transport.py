"""What a transport is: the Protocols it implements and the values that pass through them.

`Transport` and `Subscription` are the whole contract. Each further Protocol is named by the flag in
`Capabilities` that declares it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities
from pabal.model.clock import Clock
from pabal.model.dead import Cause, Change, DeadLetter, LetterFilter, Redriven
from pabal.model.errors import PabalError
from pabal.model.message import Message
from pabal.model.outcome import Failure, Outcome, Reason, Settlement

OnDead = Literal["park", "continue"]
Start = Literal["oldest", "new"] | datetime


class GroupId(msgspec.Struct, frozen=True):
    """A group's identity: the channel or pattern it reads, and its name."""

    source: str
    name: str


class Post(msgspec.Struct, frozen=True, gc=False):
    """One message handed to a transport.

    Attributes:
        message: what is sent.
        due: seconds since the epoch before which nobody gets it; None: at once.
        group: the one group that gets it (a redrive, a retry by copy); None: everyone.
        attempt: how many deliveries the group has already had of it.
        redrive: how often it was redriven; makes a redrive's deduplication key a new one.
        errors: the failures that it carries along.
        park: when nobody takes it, a transport that parks keeps it as an ``unrouted`` dead letter in the
            same step; False: it is left out, and the receipt says so.
    """

    message: Message
    due: float | None = None
    group: GroupId | None = None
    attempt: int = 0
    redrive: int = 0
    errors: tuple[Failure, ...] = ()
    park: bool = True


class Receipt(msgspec.Struct, frozen=True):
    """What became of one published message.

    Attributes:
        id: the message's id.
        routed: whether anybody is there to take it; None: the transport cannot know.
        receivers: how many groups and listeners take it; None: the transport cannot know. A listener that is too far
            behind does not: its copy is a dead letter, ``overflow``.
        error: why the transport did not take it; None: it did.
    """

    id: str
    routed: bool | None = None
    receivers: int | None = None
    error: PabalError | None = None


class Source(msgspec.Struct, frozen=True):
    """What a subscription reads.

    Attributes:
        channel: a channel or a pattern.
        group: the group's name; None: broadcast, a private copy while this subscription lives.
        ordered: messages of one key one after another, across the group.
        window: how many deliveries the subscription holds ready; 0: registered, but it takes nothing yet.
        start: where a new group begins in a kept log; None: the transport's default.
        on_revoke: awaited before partitions go to another member.
        on_dead: of an ordered group, what becomes of the later messages of a key whose message ended as a dead
            letter (exhausted, rejected, undecodable or expired): ``park`` holds them back, waiting in the group,
            until the letter is redriven (it goes first, at its old place) or discarded; ``continue`` lets them run.
        on_undelivered: of a transport that settles nothing, awaited with what a subscription has of the server and
            cannot hand out: ``overflow``, too much waits already; ``abandoned``, it was closed before.

    What a member of an ordered group gives back behind earlier messages of its key that it still holds comes again once
    it has settled those.

    `ordered` and `on_dead` belong to the group: whoever reads it otherwise than its living members do, or while it
    has a backlog, or with a window of 0, is refused with ConfigurationError.
    """

    channel: str
    group: str | None = None
    ordered: bool = False
    window: int = 100
    start: Start | None = None
    on_revoke: Callable[[], Awaitable[None]] | None = None
    on_dead: OnDead = "park"
    on_undelivered: Callable[[Sequence[Delivery], Reason], Awaitable[None]] | None = None


class Delivery(msgspec.Struct, frozen=True, eq=False):
    """One attempt to hand one message to one group or listener.

    Attributes:
        message: the message.
        attempt: 1 for the first; rises with each delivery that was not given back.
        errors: the failures so far, where the transport keeps them.
        redrive: how often the message was redriven.
        token: what the transport knows the delivery by.
    """

    message: Message
    attempt: int = 1
    errors: tuple[Failure, ...] = ()
    redrive: int = 0
    token: object = None


class Settled(msgspec.Struct, frozen=True, eq=False):
    """A delivery and how it ended."""

    delivery: Delivery
    outcome: Outcome


class Subscription(Protocol):
    """A registered reader of one source.

    It extends what it still buffers; whoever received a delivery extends that.
    """

    @property
    def lease(self) -> float | None:
        """Seconds that a delivery stays ours without `extend`; None: as long as the connection lives."""

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return 1 to `limit` of them.

        Waits on this subscription's own buffer only: cancelling it loses nothing. One caller at a time.
        After `aclose` it raises ConnectionFailed.
        """
        ...

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """End deliveries; returns one settlement each, in their order. Never raises for a lost lease."""
        ...

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """Renew the lease of deliveries in hand; returns those that are no longer ours."""
        ...

    def resize(self, window: int, /) -> None:
        """Hold at most `window` deliveries ready from now on; what is held beyond goes back, uncounted.

        0 takes nothing: a pulling consumer is resized for each pull.
        """

    async def aclose(self) -> None:
        """Release every delivery that is not settled; a broadcast's private copies end. Safe to call twice."""


class Transport(Protocol):
    """An adapter to one kind of server or store."""

    @property
    def best(self) -> Capabilities:
        """What this transport can do on the best of servers, told without connecting; `open` returns no more."""
        ...

    async def open(self) -> Capabilities:
        """Connect; returns what this transport can do on its server as that is.

        Raises ConnectionFailed or ConfigurationError.
        """
        ...

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Take responsibility for messages, in order; returns one receipt each.

        The failure of one message is a value in its receipt; raises ConnectionFailed when none was taken.
        """
        ...

    async def subscribe(self, source: Source, /) -> Subscription:
        """Register a reader. Once this has returned, no later publish misses it.

        Raises ConfigurationError for a source that is none and for a group that is read in another mode, and
        CapabilityError for what the transport cannot do.
        """
        ...

    async def aclose(self) -> None:
        """Close every subscription and the connection. Safe to call twice."""


class Requests(Protocol):
    """Request and reply (`Capabilities.requests`)."""

    async def replies(self, receive: Callable[[str, Message | None], None], /) -> str:
        """Open the private way back, once; returns its address.

        A request's `reply_to` is that address, a dot, and a token. Every answer is handed to ``receive(reply_to,
        answer)`` in the event loop; the answer None says that nobody is there to answer.
        """
        ...

    async def request(self, message: Message, /) -> Receipt:
        """Send a request to every group and listener that is alive now; ``routed`` is False when there is none.

        It is never parked.
        """
        ...

    async def reply(self, answer: Message, /) -> None:
        """Send an answer; its channel is the request's `reply_to`. Nobody waiting for it is no error."""


class Parks(Protocol):
    """Keeping dead letters (`Capabilities.parks`).

    A letter that was redriven stays to be read for a while, apart from those that are dead still. Every id here is a
    letter's; one that is not known is told or left out, never an error.
    """

    async def park(self, letters: Sequence[DeadLetter], /) -> None:
        """Keep dead letters, with their edits; their own ids are given anew."""

    def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """The dead letters that fit, oldest first; those that come or go meanwhile may be missed."""
        ...

    async def causes(self, wanted: LetterFilter, /) -> Sequence[Cause]:
        """The dead letters that fit, counted by reason, channel, group and cause, in no order."""
        ...

    async def redrive(self, ids: Sequence[str], /) -> Sequence[Redriven]:
        """Send dead letters again, each in one step with its removal; returns one result each.

        Only the group that failed gets it; an ``unrouted`` one goes to all groups there are now, one of a listener to
        the living listeners of its source, and it stays when there is none, or none with room.
        """
        ...

    async def pending(self, ids: Sequence[str], /) -> Sequence[str]:
        """Those of these redriven letters whose message somebody who got it has not ended yet.

        What was sent by another transport is not known here, and left out.
        """
        ...

    async def edit(self, id: str, change: Change, /) -> DeadLetter | None:
        """Change a dead letter's message in one step, and add to its edits what was there before.

        Returns the letter as it is now; None: there is none that is dead still. Raises MessageTooLarge.
        """
        ...

    async def discard(self, ids: Sequence[str], /, *, sent: bool = False) -> int:
        """Delete dead letters; returns how many there were.

        With `sent` another transport has sent them: they stay to be read, among the redriven ones.
        """
        ...


class GroupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A group as an operator sees it: how many messages are ready, waiting (delayed or to be retried) and leased.

    `oldest` is the time of the oldest message that is not done, `members` how many living readers there are. What is
    held back behind another message of its key is waiting. A transport whose members own what they read without
    marking it counts what they have in hand as ready.
    """

    source: str
    name: str
    ready: int = 0
    waiting: int = 0
    leased: int = 0
    oldest: datetime | None = None
    members: int = 0


class Finding(msgspec.Struct, frozen=True):
    """One line of a doctor's report: ``ok`` as it should be, ``weak`` worth a look, ``bad`` to be mended."""

    level: Literal["ok", "weak", "bad"]
    text: str


class Administers(Protocol):
    """Looking after a server's groups (`Capabilities.administers`)."""

    async def groups(self) -> Sequence[GroupStatus]:
        """Every durable group there is."""
        ...

    async def remove(self, group: GroupId, /, *, discard: bool = False) -> int:
        """Remove a group; its backlog becomes dead letters (reason ``removed``) unless `discard`.

        Returns the size of the backlog. Raises ConfigurationError when there is no such group, or it has
        living members.
        """
        ...


class Examines(Protocol):
    """Looking at a server (`Capabilities.examines`)."""

    async def findings(self) -> Sequence[Finding]:
        """What the server is, and what weakens it."""
        ...


class TransportFactory(Protocol):
    """What an entry point of the group ``pabal.transports`` names: a class, or a function."""

    def __call__(self, address: Address, /, *, clock: Clock) -> Transport:
        """Make a transport without connecting; raises ConfigurationError for a bad URL."""
        ...
