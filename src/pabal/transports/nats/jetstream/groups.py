"""Groups as an operator sees and removes them."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pabal.model.clock import Clock, utc
from pabal.model.dead import DeadLetter
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Failure
from pabal.model.transport import GroupId, GroupStatus, Settled, Source, Subscription
from pabal.transports.nats.jetstream.api import NANO, NO_MESSAGE, Answer, Api, ApiError
from pabal.transports.nats.jetstream.consumers import Consumers, Mode, mode_of
from pabal.transports.nats.jetstream.holding import Held
from pabal.transports.nats.jetstream.members import Members
from pabal.transports.nats.jetstream.names import consumer_name
from pabal.transports.nats.jetstream.purging import Purging
from pabal.transports.nats.jetstream.records import Records
from pabal.transports.nats.jetstream.streams import Stream, Streams
from pabal.transports.nats.received import Received
from pabal.transports.nats.subjects import Subjects
from pabal.transports.nats.wire import redrive_of, stored_message_of

Info = dict[str, Any]
Park = Callable[[Sequence[DeadLetter]], Awaitable[None]]
Subscribe = Callable[[Source], Awaitable[Subscription]]

_AT_ONCE = 100
_MORE_THAN_A_LEASE = 2.0
_QUIET = 0.5
"""Seconds without a delivery after which it is looked what went back."""


class Groups:
    """Lists and removes groups."""

    def __init__(
        self,
        api: Api,
        streams: Streams,
        consumers: Consumers,
        members: Members,
        purging: Purging,
        records: Records,
        subjects: Subjects,
        *,
        clock: Clock,
        subscribe: Subscribe,
        park: Park,
    ) -> None:
        self._api = api
        self._streams = streams
        self._consumers = consumers
        self._members = members
        self._purging = purging
        self._records = records
        self._subjects = subjects
        self._clock = clock
        self._subscribe = subscribe
        self._park = park

    async def all(self) -> Sequence[GroupStatus]:
        """Every group there is, under our prefix."""
        found: list[tuple[str, Info, Mode]] = []
        for stream in await self._streams.names():
            for info in await self._consumers.of_stream(stream):
                mode = mode_of(info["config"])
                if mode is not None and info["config"].get("filter_subject") == self._subjects.of(mode.source):
                    found.append((stream, info, mode))
        in_hand = await self._members.in_hand([(stream, info["name"]) for stream, info, _ in found])
        return [
            await self._status(stream, info, mode, in_hand.get((stream, info["name"]), []))
            for stream, info, mode in found
        ]

    async def remove(self, group: GroupId, *, discard: bool) -> int:
        """Remove a group; returns the size of its backlog, of which dead letters are made unless `discard`."""
        stream = await self._streams.existing(group.source)
        name = consumer_name(group.source, group.name)
        info = None if stream is None else await self._consumers.info(stream.name, name)
        mode = None if info is None else mode_of(info["config"])
        if stream is None or info is None or mode is None:
            raise ConfigurationError(f"there is no group {group.name!r} on {group.source!r}")
        if await self._members.is_read(stream.name, name):
            raise ConfigurationError(f"group {group.name!r} on {group.source!r} has living members; stop them first")
        backlog = int(info["num_pending"] + info["num_ack_pending"])
        if backlog and not discard:
            await self._bury(stream, mode, backlog, lease=info["config"]["ack_wait"] / NANO)
        await self._consumers.delete(stream.name, name)
        await self._purging.purge_left(stream, self._subjects.of(group.source))
        await self._records.make()
        self._records.end([f"{stream.name}.{name}.*"])
        return backlog

    async def _status(self, stream: str, info: Info, mode: Mode, held: Sequence[int]) -> GroupStatus:
        handed_out, leased = info["num_ack_pending"], min(sum(held), info["num_ack_pending"])
        waiting = 0
        if handed_out > leased:
            now = self._clock.time()
            await self._records.make()
            records = await self._records.of_group(f"{stream}.{info['name']}")
            waiting = min(handed_out - leased, sum(record.due > now for _, record in records))
        oldest = None
        if info["num_pending"] or handed_out:
            asked = {"seq": info["ack_floor"]["stream_seq"] + 1, "next_by_subj": self._subjects.of(mode.source)}
            found = await self.message(stream, asked)
            oldest = None if found is None else found[0].time
        return GroupStatus(
            source=mode.source,
            name=mode.group,
            ready=info["num_pending"] + handed_out - leased - waiting,
            waiting=waiting,
            leased=leased,
            oldest=oldest,
            members=len(held),
        )

    async def _bury(self, stream: Stream, mode: Mode, backlog: int, *, lease: float) -> None:
        """Make dead letters of all that a group has not ended."""
        await self._records.make()
        early: set[int] = set()
        await self._bury_early(stream, mode, early)
        source = Source(mode.source, mode.group, mode.ordered, _AT_ONCE, on_dead=mode.on_dead)
        subscription = await self._subscribe(source)
        time = asyncio.get_running_loop().time
        until = time() + lease + _MORE_THAN_A_LEASE  # one may be in the hands of who died
        try:
            while backlog > len(early) and time() < until:  # what is left was for other groups alone
                try:
                    async with asyncio.timeout(_QUIET):
                        deliveries = await subscription.receive(_AT_ONCE)
                except TimeoutError:
                    await self._bury_early(stream, mode, early)
                    continue
                # What has no place in the stream is somebody's request, which nobody answers now.
                kept = [(d, d.token.at.sequence) for d in deliveries if isinstance(d.token, Held)]
                new = [d for d, sequence in kept if sequence not in early]
                await self._park([self._letter(d.message, mode, d.errors, d.redrive) for d in new])
                await subscription.settle([Settled(delivery, ACKED) for delivery, _ in kept])
                backlog -= len(new)
                until = time() + lease + _MORE_THAN_A_LEASE
        finally:
            await subscription.aclose()

    async def _bury_early(self, stream: Stream, mode: Mode, buried: set[int]) -> None:
        """Make dead letters of what went back because it is due later, as its records tell; adds to `buried`."""
        now = self._clock.time()
        records = await self._records.of_group(f"{stream.name}.{consumer_name(mode.source, mode.group)}")
        for sequence, record in records:
            if record.due <= now or sequence in buried:
                continue
            found = await self.message(stream.name, {"seq": sequence})
            if found is not None:
                message, redrive = found
                await self._park([self._letter(message, mode, record.failures, redrive)])
                buried.add(sequence)

    def _letter(self, message: Message, mode: Mode, failures: Sequence[Failure], redrive: int) -> DeadLetter:
        return DeadLetter(
            id="",
            message=message,
            reason="removed",
            source=mode.source,
            group=mode.group,
            attempts=tuple(failures),
            parked=utc(self._clock.time()),
            redrives=redrive,
        )

    async def message(self, stream: str, asked: dict[str, object]) -> tuple[Message, int] | None:
        """A message as the stream keeps it, and how often it was redriven; None: it is there no more."""
        try:
            answer = await self._api.ask(f"STREAM.MSG.GET.{stream}", asked)
        except ApiError as error:
            if error.code == NO_MESSAGE:
                return None
            raise
        kept = _kept(answer)
        sequence = answer["message"]["seq"]
        message = stored_message_of(
            self._subjects.channel(kept.subject),
            kept,
            lambda: (f"{stream}:{sequence}", utc(self._clock.time())),
        )
        return message, redrive_of(kept)


def _kept(answer: Answer) -> Received:
    """A message of a stream, as one that was received."""
    message = answer["message"]
    body = b64decode(message.get("data", ""))
    return Received(message["subject"], "", body, b64decode(message.get("hdrs", "")))
