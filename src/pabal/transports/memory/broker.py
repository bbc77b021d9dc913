"""The broker: groups, listeners, routing and dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING

from pabal.model.clock import Clock, utc
from pabal.model.dead import NO_LETTER, REDRIVEN, DeadLetter, Redriven
from pabal.model.errors import ConfigurationError, MessageTooLarge, PabalError
from pabal.model.message import Message
from pabal.model.names import check_channel, matcher
from pabal.model.outcome import Failure, Reason
from pabal.model.transport import GroupId, Post, Receipt, Source
from pabal.transports.memory.lanes import Entry
from pabal.transports.memory.letters import Kept, Letters
from pabal.transports.memory.queue import Mode, Queue, mode_of

if TYPE_CHECKING:
    from pabal.transports.memory.transport import MemoryTransport

_ROUTES = 4096
_WAYS: dict[Mode, str] = {
    "shared": "unordered",
    "park": 'ordered (on_dead="park")',
    "continue": 'ordered (on_dead="continue")',
}


class Broker:
    """All that one ``memory://`` address holds.

    Its transports come and go, on one event loop at a time; its clock is that of the first of them.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.groups: dict[GroupId, Queue] = {}
        self.listeners: set[Queue] = set()
        self.letters = Letters()
        self.inboxes: dict[str, Callable[[str, Message | None], None]] = {}
        self._transports: set[MemoryTransport] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sequence = count(1)
        self._routes: dict[str, tuple[Queue, ...]] = {}

    def next_sequence(self) -> int:
        """The next place at the end of every queue."""
        return next(self._sequence)

    # Who uses it.

    def attach(self, transport: MemoryTransport, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Let `transport` use the broker; what an ended loop left open is closed.

        Raises ConfigurationError while another loop uses it.
        """
        if self._loop is not loop:
            if self._transports and self._loop is not None and self._loop.is_running():
                raise ConfigurationError(
                    f"{transport} is in use by another event loop of this process; "
                    "close what uses it there first, or give this one another name"
                )
            for left in tuple(self._transports):
                left.close()
            self._loop = loop
        if not self._transports:
            self.clock = clock
        self._transports.add(transport)
        for queue in self.groups.values():
            queue.arm()

    def detach(self, transport: MemoryTransport) -> None:
        """`transport` is closed."""
        self._transports.discard(transport)
        if not self._transports:
            self._loop = None
            for queue in self.groups.values():
                queue.disarm()

    # Who reads.

    def join(self, source: Source) -> Queue:
        """The queue for a new reader of `source`.

        Raises ConfigurationError when the group is read in another way by living members, or has a backlog.
        """
        mode = mode_of(source)
        if source.group is None:
            queue = Queue(self, source.channel, None, mode)
            self.listeners.add(queue)
            self._routes.clear()
            return queue
        id = GroupId(source.channel, source.group)
        found = self.groups.get(id)
        if found is None:
            found = self.groups[id] = Queue(self, source.channel, source.group, mode)
            self._routes.clear()
        elif found.mode != mode:
            was, name = _WAYS[found.mode], f"group {source.group!r} of {source.channel!r}"
            if not source.window:
                raise ConfigurationError(
                    f"{name} is read {was}, and who only pulls would read it {_WAYS[mode]}: read it by a handler that "
                    "says the same, or remove the group first"
                )
            if found.members:
                raise ConfigurationError(f"{name} has members that read it {was}; every member must say the same")
            if backlog := len(found.backlog()):
                raise ConfigurationError(
                    f"{name} is read {was} and has a backlog of {backlog:,}; before it can be read {_WAYS[mode]}, let "
                    "it be handled, or remove the group"
                )
            found.read_as(mode)
        return found

    def drop(self, queue: Queue) -> None:
        """A listener is gone, and its private copies with it."""
        queue.disarm()
        self.listeners.discard(queue)
        self._routes.clear()

    def remove(self, id: GroupId, *, discard: bool) -> int:
        """Remove a group; see `Administers.remove`."""
        queue = self.groups.get(id)
        if queue is None:
            raise ConfigurationError(_no_group(id))
        if queue.members:
            raise ConfigurationError(
                f"group {id.name!r} of {id.source!r} has living members: close all {len(queue.members)} first"
            )
        queue.disarm()
        del self.groups[id]
        self._routes.clear()
        backlog = queue.backlog()
        if not discard:
            for entry in backlog:
                self.bury(entry, "removed", entry.errors, source=id.source, group=id.name)
        return len(backlog)

    # What is sent.

    def publish(self, posts: Sequence[Post], max_body: int, overflow: int) -> list[Receipt]:
        """Route messages; returns one receipt each. A listener for which `overflow` wait gets no more."""
        receipts: list[Receipt] = []
        routes, sequence, nobody_listens = self._routes, self._sequence, not self.listeners
        for post in posts:
            message = post.message
            queues = routes.get(message.channel)
            if queues and nobody_listens and len(message.body) <= max_body and post.group is None and post.due is None:
                place = next(sequence)
                for queue in queues:
                    queue.append(Entry(place, message, post.attempt, post.errors, post.redrive))
                receipts.append(Receipt(message.id, True, len(queues)))
            else:
                receipts.append(self._publish(post, max_body, overflow))
        return receipts

    def _publish(self, post: Post, max_body: int, overflow: int) -> Receipt:
        """Route one message, whatever it needs."""
        message = post.message
        try:
            check_size(message, max_body)
            queues = self._route(message.channel) if post.group is None else (self._group(post.group),)
        except PabalError as error:
            return Receipt(message.id, None, None, error)
        if not queues and post.park:
            self.bury(self._entry(post), "unrouted", post.errors)
        takers = tuple(queue for queue in queues if queue.group is not None or queue.waiting < overflow)
        for queue in queues:
            if queue not in takers:
                self.bury(self._entry(post), "overflow", post.errors, source=queue.source)
        if takers:
            self._send(post, takers)
        return Receipt(message.id, bool(queues), len(takers))

    def request(self, message: Message, max_body: int) -> Receipt:
        """Send a request to those who are alive; see `Requests.request`."""
        try:
            check_size(message, max_body)
            alive = tuple(queue for queue in self._route(message.channel) if queue.members)
        except PabalError as error:
            return Receipt(message.id, None, None, error)
        self._send(Post(message), alive)
        return Receipt(message.id, bool(alive), len(alive))

    def _send(self, post: Post, queues: Iterable[Queue]) -> None:
        if post.due is not None and post.due > self.clock.time():
            for queue in queues:
                queue.delay(Entry(0, post.message, post.attempt, post.errors, post.redrive), post.due)
            return
        sequence = next(self._sequence)
        for queue in queues:
            queue.append(Entry(sequence, post.message, post.attempt, post.errors, post.redrive))

    def _entry(self, post: Post) -> Entry:
        return Entry(self.next_sequence(), post.message, post.attempt, post.errors, post.redrive)

    def _route(self, channel: str) -> tuple[Queue, ...]:
        known = self._routes.get(channel)
        if known is not None:
            return known
        check_channel(channel)
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        queues = (*self.groups.values(), *self.listeners)
        self._routes[channel] = tuple(queue for queue in queues if matcher(queue.source)(channel))
        return self._routes[channel]

    def _group(self, id: GroupId) -> Queue:
        queue = self.groups.get(id)
        if queue is None:
            raise ConfigurationError(_no_group(id))
        return queue

    # What ended undelivered.

    def bury(
        self,
        entry: Entry,
        reason: Reason,
        attempts: tuple[Failure, ...],
        *,
        source: str | None = None,
        group: str | None = None,
    ) -> None:
        """Keep what `entry` held as a dead letter."""
        entry.ended = True
        letter = DeadLetter(
            id="",
            message=entry.message,
            reason=reason,
            source=source,
            group=group,
            attempts=attempts,
            parked=utc(self.clock.time()),
            redrives=entry.redrive,
        )
        self.letters.keep(letter, entry.sequence or self.next_sequence())

    def redrive(self, id: str, overflow: int) -> Redriven:
        """Send one dead letter again, to whom it failed for, at its old place in the queue."""
        kept = self.letters.get(id)
        if kept is None:
            return Redriven(id, error=NO_LETTER if self.letters.sent_to(id) is None else REDRIVEN)
        letter = kept.letter
        queues, missing = self._addressees(letter)
        if queues:
            queues = [queue for queue in queues if queue.group is not None or queue.waiting < overflow]
            missing = f"every listener of {letter.source or letter.message.channel!r} is too far behind to take it"
        if not queues:
            return Redriven(id, letter.message.id, 0, missing)
        to = [(queue, Entry(kept.sequence, letter.message, redrive=letter.redrives + 1)) for queue in queues]
        self.letters.sent(id, to, utc(self.clock.time()))
        for queue, entry in to:
            queue.insert(entry)
        self._unearth(kept)
        return Redriven(id, letter.message.id, len(to))

    def discard(self, id: str, *, sent: bool) -> bool:
        """Delete one dead letter, or note that it was sent from elsewhere; returns whether there was one."""
        kept = self.letters.get(id)
        if kept is None:
            return False
        if sent:
            self.letters.sent(id, (), utc(self.clock.time()))
        else:
            self.letters.discard(id)
        self._unearth(kept)
        return True

    def _unearth(self, kept: Kept) -> None:
        """A letter that is gone holds back its key no longer."""
        letter = kept.letter
        if letter.source is not None and letter.group is not None:
            queue = self.groups.get(GroupId(letter.source, letter.group))
            if queue is not None:
                queue.unearth(letter.message.key, kept.sequence)

    def is_pending(self, id: str) -> bool:
        """Whether the message of a redriven letter is not ended yet; a queue that is gone has ended all of its own."""
        return any(not entry.ended and self._is_alive(queue) for queue, entry in self.letters.sent_to(id) or ())

    def _is_alive(self, queue: Queue) -> bool:
        if queue.group is None:
            return queue in self.listeners
        return self.groups.get(GroupId(queue.source, queue.group)) is queue

    def _addressees(self, letter: DeadLetter) -> tuple[Sequence[Queue], str]:
        channel = letter.message.channel
        if letter.group is not None:
            id = GroupId(letter.source or channel, letter.group)
            queue = self.groups.get(id)
            return (() if queue is None else (queue,)), _no_group(id)
        if letter.reason == "unrouted":
            return self._route(channel), f"there is still no group and no listener that takes {channel!r}"
        listeners = [
            queue
            for queue in self.listeners
            if (letter.source is None or queue.source == letter.source) and matcher(queue.source)(channel)
        ]
        return listeners, f"no listener of {letter.source or channel!r} is alive"


def check_size(message: Message, max_body: int) -> None:
    """Raise MessageTooLarge for a body above the limit."""
    if len(message.body) > max_body:
        raise MessageTooLarge(
            f"the body of message {message.id} has {len(message.body)} bytes, "
            f"memory:// takes up to {max_body} (option max_body)"
        )


def _no_group(id: GroupId) -> str:
    return f"there is no group {id.name!r} of {id.source!r}"
