"""What consumers give up that others made, or changed: the server tells when it delivers a message no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec

from pabal.model.clock import Clock, utc
from pabal.model.dead import DeadLetter
from pabal.model.errors import PabalError
from pabal.model.message import Message
from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.asked import Interests
from pabal.transports.nats.jetstream.consumers import Consumers, mode_of
from pabal.transports.nats.jetstream.purging import filters
from pabal.transports.nats.received import Received
from pabal.transports.nats.subjects import Subjects

log = logging.getLogger("pabal.nats")

_SUBJECT = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"
_QUEUE = "pabal"
_FAREWELL = 2.0

Find = Callable[[str, dict[str, object]], Awaitable[tuple[Message, int] | None]]
Park = Callable[[list[DeadLetter]], Awaitable[None]]


class _Advisory(msgspec.Struct):
    stream_seq: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    deliveries: int = 0


_read = msgspec.json.Decoder(_Advisory).decode


class Advisories:
    """Makes dead letters of what consumers give up in the streams that are read here. None does that pabal made.

    One process of those that hear it does so; the server tells it once, so that nobody may be there to hear.
    """

    def __init__(
        self, connection: Connection, consumers: Consumers, subjects: Subjects, *, find: Find, park: Park, clock: Clock
    ) -> None:
        self._interests = Interests(connection)
        self._consumers = consumers
        self._subjects = subjects
        self._find = find
        self._park = park
        self._clock = clock
        self._parking: set[asyncio.Task[None]] = set()

    async def hear(self, stream: str) -> None:
        """Hear of a stream from now on."""
        await self._interests.hear(f"{_SUBJECT}.{stream}.*", _QUEUE, self._heard)

    async def aclose(self) -> None:
        """Hear nothing more, and park what was heard."""
        await self._interests.aclose()
        if self._parking:
            _, left = await asyncio.wait(self._parking, timeout=_FAREWELL)
            for task in left:
                task.cancel()

    def _heard(self, received: Received) -> None:
        try:
            advisory = _read(received.data)
        except msgspec.DecodeError:
            return
        # Which consumer it is, the subject says: nobody can write there what is no name.
        stream, _, consumer = received.subject[len(_SUBJECT) + 1 :].partition(".")
        task = asyncio.get_running_loop().create_task(
            self._bury(stream, consumer, advisory), name=f"pabal advisory: {stream} {consumer}"
        )
        self._parking.add(task)
        task.add_done_callback(self._parking.discard)

    async def _bury(self, stream: str, consumer: str, advisory: _Advisory) -> None:
        where = f"{stream}, position {advisory.stream_seq}, consumer {consumer}"
        try:
            info = await self._consumers.info(stream, consumer)
            mode = None if info is None else mode_of(info["config"])
            if mode is not None and info is not None and info["config"].get("max_deliver", -1) < 0:
                return  # it never gives up: somebody made this up
            found = await self._find(stream, {"seq": advisory.stream_seq})
            if found is None:
                log.error("%s: given up after %d deliveries, and there no more", where, advisory.deliveries)
                return
            message, redrive = found
            source = message.channel if info is None else self._subjects.channel(filters(info)[0])
            group = consumer if mode is None else mode.group
            letter = DeadLetter(
                id="",
                message=message,
                reason="exhausted",
                source=source,
                group=group,
                parked=utc(self._clock.time()),
                redrives=redrive,
            )
            await self._park([letter])
        except PabalError as error:
            log.error("%s: given up, and no dead letter could be made of it: %s", where, error)  # noqa: TRY400 - one line
            return
        log.warning("%s: given up after %d deliveries, and a dead letter now", where, advisory.deliveries)
