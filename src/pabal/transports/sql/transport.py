"""The transport of ``sqlite:///file``: a message box in a file, for the processes of one host."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, get_args

from msgspec.structs import replace

from pabal.messagebox.sqlite import groups, letters, redrive
from pabal.messagebox.sqlite.box import Box
from pabal.messagebox.sqlite.connection import connect, explain
from pabal.messagebox.sqlite.findings import findings
from pabal.messagebox.sqlite.publish import ask, draft, publish
from pabal.messagebox.sqlite.writer import Writer
from pabal.model.address import Address
from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.clock import Clock
from pabal.model.dead import Cause, Change, DeadLetter, LetterFilter, Redriven
from pabal.model.errors import CapabilityError, ConfigurationError, ConnectionFailed
from pabal.model.message import Message
from pabal.model.names import check_group, check_source
from pabal.model.transport import Finding, GroupId, GroupStatus, OnDead, Post, Receipt, Source
from pabal.transports.sql.requests import WINDOW, Replies, new_address, pattern
from pabal.transports.sql.subscription import SqliteSubscription, check_window

Result = TypeVar("Result")

_MOST_BODY = 500_000_000


@dataclass(frozen=True)
class SqliteOptions:
    """The options of ``sqlite:///``: `lease` in seconds, `max_body` in bytes, `synchronous` of publishes.

    With ``synchronous=full`` what publish took survives a loss of power; with ``normal`` a crash of processes
    alone. `overflow` is how many messages may wait for a listener; what is published then becomes a dead letter.
    """

    lease: float = 30.0
    max_body: int = 16_777_216
    overflow: int = 10_000
    synchronous: str = "full"


class SqliteTransport:
    """A transport to a message box in a file; the file is made where it is missing.

    Implements `Transport`, `Requests`, `Parks` and `Administers`. Raises ConfigurationError for a bad URL. `writing` is
    what does the box's work: a thread, but for simulations.
    """

    best = Capabilities(
        broadcast=True,
        groups=True,
        durable=True,
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
        max_body=_MOST_BODY,
    )

    def __init__(self, address: Address, /, *, clock: Clock, writing: Callable[..., Writer] = Writer) -> None:
        self._address = address
        self._clock = clock
        self._options = _check(address)
        self._path = str(Path(address.path[1:]).absolute())
        self._writer = writing(
            Box(
                self._path,
                clock=clock,
                lease=self._options.lease,
                full=self._options.synchronous == "full",
                overflow=self._options.overflow,
            ),
            failed=self._fail,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscriptions: set[SqliteSubscription] = set()
        self._replies: Replies | None = None
        self._reply_address: str | None = None
        self._closing: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return str(self._address)

    async def open(self) -> Capabilities:
        """Open the file; opening twice is the same as once.

        Raises ConfigurationError for a folder that is missing, a file that is no box or a newer one, and
        ConnectionFailed for one that cannot be written.
        """
        if self._closing is not None:
            raise ConnectionFailed(f"{self} is closed")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            try:
                await self._writer.open()
            except BaseException:
                self._loop = None
                raise
        return replace(self.best, max_body=self._options.max_body)

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Write messages for all groups that take them, in one transaction.

        Raises ConnectionFailed when none was taken. Cancelled, it may have been done all the same.
        """
        writer = self._opened()
        if not posts:
            return []
        drafts = [draft(post, max_body=self._options.max_body) for post in posts]
        return await writer.write(partial(publish, drafts=drafts), durable=True)

    async def subscribe(self, source: Source, /) -> SqliteSubscription:
        """Register a reader, and its group where that is new; a group begins with the next message.

        Raises ConfigurationError for a bad name or window and for a group that is read in another mode, and
        CapabilityError for what a box cannot do.
        """
        writer = self._opened()
        check_source(source.channel)
        if source.group is not None:
            check_group(source.group)
        check_window(source.window)
        if source.on_dead not in get_args(OnDead):
            raise ConfigurationError(f"on_dead is one of {', '.join(get_args(OnDead))}, not {source.on_dead!r}")
        if source.start is not None:
            raise CapabilityError(
                f"{self} keeps no log to start in: a group begins with the next message; leave out start="
            )
        return await self._subscribe(writer, source)

    async def _subscribe(self, writer: Writer, source: Source) -> SqliteSubscription:
        subscription = SqliteSubscription(
            source,
            writer,
            lease=self._options.lease,
            clock=self._clock,
            closed=self._subscriptions.discard,
        )
        self._subscriptions.add(subscription)
        try:
            await writer.write(partial(writer.box.enter, reader=subscription.reader), durable=True)
        except asyncio.CancelledError:
            subscription.abandon()  # registered or not, it is taken back
            raise
        except BaseException:
            self._subscriptions.discard(subscription)
            raise
        subscription.start()
        return subscription

    async def aclose(self) -> None:
        """Close every subscription, give back what they hold, and close the file."""
        if self._closing is None:
            if self._loop is not None:
                self._writer.check_process()
            self._closing = asyncio.create_task(self._close(), name=f"pabal: closing {self}")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._loop is None:
            return
        for subscription in tuple(self._subscriptions):
            await subscription.aclose()
        if self._replies is not None:
            await self._replies.aclose()
        with suppress(ConnectionFailed):  # whoever finds our member row expired, deletes it
            await self._writer.write(self._writer.box.depart)
        await self._writer.close()

    # Requests

    async def replies(self, receive: Callable[[str, Message | None], None], /) -> str:
        """Open the private way back, once; returns its address. Raises ConfigurationError the second time."""
        writer = self._opened()
        if self._reply_address is not None:
            raise ConfigurationError(f"the way back of {self} is open already, it is {self._reply_address}")
        self._reply_address = address = new_address()
        try:
            subscription = await self._subscribe(writer, Source(pattern(address), window=WINDOW))
        except BaseException:
            self._reply_address = None
            raise
        self._replies = Replies(subscription, receive)
        return address

    async def request(self, message: Message, /) -> Receipt:
        """Send a request to the groups and listeners that a living process reads.

        It is not forced to the disk: who asks waits for an answer and asks again without one.
        """
        writer = self._opened()
        asked = draft(Post(message, park=False), max_body=self._options.max_body)
        return await writer.write(partial(ask, draft=asked))

    async def reply(self, answer: Message, /) -> None:
        """Send an answer; nobody waiting for it is no error. Raises MessageTooLarge or ConnectionFailed."""
        receipt = await self.request(answer)
        if receipt.error is not None:
            raise receipt.error

    # Parks

    async def park(self, letters_: Sequence[DeadLetter], /) -> None:
        """Keep dead letters, all or none; their own ids are given anew. Raises CodecError or ConnectionFailed."""
        writer = self._opened()
        rows = [letters.letter_row(letter) for letter in letters_]
        await writer.write(partial(letters.park, rows=rows), durable=True)

    async def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """The dead letters that fit, oldest first, page by page: no reading transaction stays open between them."""
        last = 0
        while True:
            page = await self._opened().tell(partial(_page, wanted=wanted, after=last))
            if not page:
                return
            for letter in page:
                yield letter
            last = int(page[-1].id)

    async def causes(self, wanted: LetterFilter, /) -> Sequence[Cause]:
        """The dead letters that fit, counted through a connection of its own: it looks at all of them."""
        self._opened()
        return await asyncio.to_thread(_read, self._path, partial(letters.causes, wanted=wanted))

    async def redrive(self, ids: Sequence[str], /) -> Sequence[Redriven]:
        """Send dead letters again, all in one transaction; those that nobody takes stay."""
        return await self._opened().write(partial(redrive.redrive, ids=ids), durable=True)

    async def pending(self, ids: Sequence[str], /) -> Sequence[str]:
        return await self._opened().tell(lambda box: box.file.read(partial(redrive.pending, ids=ids)))

    async def edit(self, id: str, change: Change, /) -> DeadLetter | None:
        """Change a dead letter's message in one transaction. Raises MessageTooLarge, CodecError or ConnectionFailed."""
        editing = partial(letters.edit, id=id, change=change, max_body=self._options.max_body)
        return await self._opened().write(editing, durable=True)

    async def discard(self, ids: Sequence[str], /, *, sent: bool = False) -> int:
        return await self._opened().write(partial(redrive.sent if sent else redrive.discard, ids=ids), durable=True)

    # Administers

    async def groups(self) -> Sequence[GroupStatus]:
        """Every group but the private ones of listeners, counted through a connection of its own."""
        self._opened()
        return await asyncio.to_thread(_read, self._path, partial(groups.statuses, now=self._clock.time()))

    async def remove(self, group: GroupId, /, *, discard: bool = False) -> int:
        return await self._opened().write(partial(groups.remove, group=group, discard=discard), durable=True)

    async def findings(self) -> Sequence[Finding]:
        """What the file and its disk are, and what weakens them; reads the whole file."""
        self._opened()
        return await asyncio.to_thread(findings, self._path, synchronous=self._options.synchronous)

    def _opened(self) -> Writer:
        if self._closing is not None:
            raise ConnectionFailed(f"{self} is closed")
        self._writer.check()
        if asyncio.get_running_loop() is not self._loop:
            raise ConnectionFailed(f"{self} is not open in this event loop; await its open() here first")
        return self._writer

    def _fail(self) -> None:
        for subscription in self._subscriptions:
            subscription.fail(f"the thread of {self} has ended; see the log")


def _page(box: Box, *, wanted: LetterFilter, after: int) -> list[DeadLetter]:
    return box.file.read(partial(letters.page, wanted=wanted, after=after))


def _read(path: str, query: Callable[[sqlite3.Connection], Result]) -> Result:
    try:
        with closing(connect(path)) as connection:
            return query(connection)
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _check(address: Address) -> SqliteOptions:
    options = address.options(SqliteOptions)
    if address.netloc or address.username is not None:
        raise ConfigurationError(
            f"bad URL {address}: a relative file takes three slashes (sqlite:///todo.db), an absolute one four"
        )
    if len(address.path) < 2 or address.path.endswith("/") or address.path == "/:memory:":
        raise ConfigurationError(
            f"bad URL {address}: name a file, like sqlite:///todo.db; memory:// needs none and keeps nothing"
        )
    if options.lease <= 0 or not 1 <= options.max_body <= _MOST_BODY:
        raise ConfigurationError(f"bad URL {address}: lease is more than 0 seconds, max_body 1 to {_MOST_BODY:,} bytes")
    if options.overflow < 1:
        raise ConfigurationError(f"bad URL {address}: overflow is at least 1 message")
    if options.synchronous not in ("full", "normal"):
        raise ConfigurationError(f"bad URL {address}: synchronous is full or normal; off would lose messages")
    return options
