"""One connection to a NATS server, or to one of several, that comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from nats import errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from pabal.model.address import Address
from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.transports.nats.client import NatsClient, Receive, Sink, next_server, refused, words
from pabal.transports.nats.options import ServerOptions, check_credentials, servers, tls
from pabal.transports.nats.received import Received, is_nobody

log = logging.getLogger("pabal.nats")

_PING_EVERY = 5
_UNANSWERED_PINGS = 2
_FAREWELL = 2.0
"""Seconds that a server has to take what is sent last."""

_PIECE = 256 * 1024
"""Bytes that are sent before the socket is waited for."""

Lost = Callable[[], None]
Refused = Callable[[str], None]


class Connection:
    """What is sent and read here, and the private inbox of this connection.

    `inbox` is a subject that only this connection reads, with what is below it. `losses` counts how often a server was
    lost: what was written in pieces is there as a whole only if that stayed the same meanwhile.
    """

    def __init__(self, address: Address, options: ServerOptions) -> None:
        self.address = address
        self.inbox = f"_INBOX.{secrets.token_hex(16)}"
        self.losses = 0
        self._inboxes = 0
        self._options = options
        self._servers = servers(address)
        self._client = NatsClient(encrypted=options.tls)
        self._branches: dict[str, Receive] = {}
        self._barriers: dict[str, asyncio.Future[None]] = {}
        self._watchers: set[Lost] = set()
        self._refusals: list[Refused] = []
        self._unheard: set[str] = set()
        self._number = 0
        self._connected = asyncio.Event()
        self._begun = self._opened = self._closed = False
        self._trouble: Exception | None = None
        self._tried = 0

    async def open(self) -> None:
        """Connect; raises ConnectionFailed when no host takes us within the time for it, ConfigurationError."""
        context = tls(self._options)
        check_credentials(self.address, self._options)
        username, password = self.address.username, self.address.password
        arguments: dict[str, Any] = {
            "user": username if password is not None else None,
            "password": password,
            "token": username if password is None else None,
            "tls": context,
            "user_credentials": self._options.credentials or None,
            "connect_timeout": self._options.connect_timeout,
        }
        self._begun = True
        try:
            async with asyncio.timeout(self._options.connect_timeout):
                await self._client.connect(
                    self._servers,
                    name="pabal",
                    error_cb=self._failed,
                    disconnected_cb=self._disconnected,
                    reconnected_cb=self._reconnected,
                    closed_cb=self._was_closed,
                    max_reconnect_attempts=-1,
                    reconnect_to_server_handler=next_server,
                    ping_interval=_PING_EVERY,
                    max_outstanding_pings=_UNANSWERED_PINGS,
                    **arguments,
                )
                self._opened = True
                self._connected.set()
                await self.subscribe(f"{self.inbox}.>", "", self._receive)
        except TimeoutError:
            await self._give_up()
            why = f": {words(self._trouble)}" if self._trouble is not None else ""
            raise ConnectionFailed(
                f"{self.address} did not answer within {self._options.connect_timeout:g} s{why}"
            ) from None
        except (errors.Error, OSError) as error:
            await self._give_up()
            raise ConnectionFailed(f"{self.address}: {words(error)}") from error
        except BaseException:
            await self._give_up()
            raise

    @property
    def version(self) -> str:
        """The server's, as in ``2.15.1``."""
        version = self._client.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    @property
    def release(self) -> tuple[int, int]:
        """The first two numbers of the version."""
        version = self._client.connected_server_version
        return version.major, version.minor

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of a cluster."""
        return bool(self._client._server_info.get("cluster"))  # noqa: SLF001 - it tells nobody else

    @property
    def max_payload(self) -> int:
        """Bytes that the server takes for one message, its headers included."""
        return self._client.max_payload

    @property
    def client(self) -> Client:
        """The client itself."""
        return self._client

    def branch(self, name: str, receive: Receive) -> str:
        """Have all that comes in below a subject of the inbox handed to `receive`; returns the subject."""
        self._branches[name] = receive
        return f"{self.inbox}.{name}"

    def watch(self, lost: Lost) -> None:
        """Have `lost` called at each loss of the connection, until `unwatch`."""
        self._watchers.add(lost)

    def unwatch(self, lost: Lost) -> None:
        """Call it no more."""
        self._watchers.discard(lost)

    def watch_refusals(self, refused: Refused) -> None:
        """Have `refused` called with each subject, in lower case, to which the server lets us publish nothing.

        That is all it says: what was published there is gone.
        """
        self._refusals.append(refused)

    @property
    def is_connected(self) -> bool:
        """Whether what is written now is sent."""
        return self._client.is_connected and self._connected.is_set() and not self._closed

    def write(self, frames: bytes) -> None:
        """Send whole lines of the protocol, soon and in order; what is written while disconnected is sent later."""
        client = self._client
        client._pending.append(frames)  # noqa: SLF001 - its publish() is a coroutine for each message
        client._pending_data_size += len(frames)  # noqa: SLF001
        queue = client._flush_queue  # noqa: SLF001
        if queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def flow(self) -> None:
        """Wait for the socket when much has been written; call it now and then between writes."""
        queue = self._client._flush_queue  # noqa: SLF001
        if queue is not None and self._client._pending_data_size > _PIECE and self._client.is_connected:  # noqa: SLF001
            flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            await queue.put(flushed)
            await flushed

    async def ready(self) -> Client:
        """The client, once it is connected: it would keep in memory what is sent before, and lose it.

        Raises ConnectionFailed when it never will be again.
        """
        if not self._client.is_connected or not self._connected.is_set():
            await self._wait()
        return self._client

    async def roomy(self) -> None:
        """Return once a connection has taken most of what was written; one to a frozen server takes none.

        Raises ConnectionFailed as `ready`.
        """
        client = self._client
        while client._pending_data_size > _PIECE or not (client.is_connected and self._connected.is_set()):  # noqa: SLF001
            await self._wait()
            await self.flow()

    async def _wait(self) -> None:
        while not (self._client.is_connected and self._connected.is_set()):
            if self._closed or not self._opened:
                raise ConnectionFailed(f"{self.address} is not open")
            if self._client.is_closed:
                raise ConnectionFailed(f"{self.address} has ended the connection: {words(self._trouble)}")
            self._connected.clear()
            await self._connected.wait()

    async def subscribe(self, subject: str, queue: str, receive: Receive) -> Subscription:
        """Register for a subject, and for it again after each reconnection; `receive` is called in the event loop.

        Raises ConnectionFailed, and ConfigurationError for a subject that the user is not allowed to hear.
        """
        client = await self.ready()
        self._unheard.discard(subject.lower())
        # A subscription made for a future hands over each message at once: no queue, no task and no limit at which the
        # client drops in silence.
        sink = cast("asyncio.Future[Any]", Sink(receive))
        subscription = await client.subscribe(subject, queue=queue, future=sink)
        try:
            await self.barrier()
            self._check_heard(subject)
        except BaseException:
            with suppress(errors.Error, OSError):
                await subscription.unsubscribe()
            raise
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Take nothing more from a subscription; once this has returned, nothing comes."""
        with suppress(errors.Error, OSError, ConnectionFailed, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                # The server first, then the client: what is on its way meanwhile is still handed over.
                await self._client._send_unsubscribe(subscription._id)  # noqa: SLF001
                await self.barrier()
        with suppress(errors.Error, OSError):
            await subscription.unsubscribe()

    def new_inbox(self) -> str:
        """A subject, with what is below it, that is subscribed to apart from `inbox`."""
        self._inboxes += 1
        return f"{self.inbox}-{self._inboxes}"

    async def barrier(self) -> None:
        """Return once the server has processed all that was sent before; raises ConnectionFailed when it may not have.

        The client's own flush is none: its ping may overtake what is buffered. A message to ourselves does not.
        """
        await self.answered(b"", "", b"")

    async def answered(self, before: bytes, subject: str, body: bytes, *, losses: int | None = None) -> None:
        """Send frames, and a message to `subject` after them; returns once that is answered.

        An empty subject is our own inbox. Raises ConnectionFailed when no answer may come, and when there are no longer
        as many `losses`.
        """
        number = str(self._number)
        self._number += 1
        here = f"{self.inbox}.b.{number}"
        passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._barriers[number] = passed
        try:
            if not self._client.is_connected or losses not in (None, self.losses):
                raise ConnectionFailed(f"the connection to {self.address} was lost")
            to = f"{subject} {here}" if subject else here
            self.write(b"%sPUB %s %d\r\n%s\r\n" % (before, to.encode(), len(body), body))
            await passed
        finally:
            del self._barriers[number]

    async def aclose(self) -> None:
        """Disconnect. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._connected.set()
        self._fail_barriers()
        await self._give_up()

    async def _give_up(self) -> None:
        self._closed = True
        if not self._begun:
            return
        with suppress(errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self._client.close()

    def _receive(self, received: Received) -> None:
        kind, _, rest = received.subject[len(self.inbox) + 1 :].partition(".")
        if kind == "b":
            passed = self._barriers.get(rest)
            if passed is None or passed.done():
                return
            if is_nobody(received):
                passed.set_exception(ConnectionFailed(f"{self.address}: nobody took what was sent"))
            else:
                passed.set_result(None)
        elif (branch := self._branches.get(kind)) is not None:
            branch(received)

    def _fail_barriers(self) -> None:
        for passed in self._barriers.values():
            if not passed.done():
                passed.set_exception(ConnectionFailed(f"the connection to {self.address} was lost"))

    async def _failed(self, error: Exception) -> None:
        self._trouble = error
        if self._opened:
            log.warning("%s: %s", self.address, words(error))
            self._hear_refusal(error)
            return
        self._tried += 1
        if self._tried >= len(self._servers):
            raise error if isinstance(error, OSError | errors.Error) else ConnectionFailed(words(error))

    def _check_heard(self, subject: str) -> None:
        if subject.lower() in self._unheard:
            raise ConfigurationError(f"{self.address}: this user is not allowed to subscribe to {subject}")

    def _hear_refusal(self, error: Exception) -> None:
        what, subject = refused(error) or ("", "")
        if what == "subscription":
            self._unheard.add(subject)
        elif what:
            for tell in self._refusals:
                tell(subject)

    def _tell_of_loss(self) -> None:
        self.losses += 1
        self._fail_barriers()
        for lost in tuple(self._watchers):
            lost()

    async def _disconnected(self) -> None:
        self._connected.clear()
        self._tell_of_loss()
        if not self._closed:
            log.warning("%s: the connection was lost, trying to get it back", self.address)

    async def _reconnected(self) -> None:
        log.info("%s: connected again", self.address)
        self._connected.set()

    async def _was_closed(self) -> None:
        self._connected.set()
        self._tell_of_loss()
        if not self._closed:
            log.error("%s: the connection has ended: %s", self.address, words(self._trouble))
