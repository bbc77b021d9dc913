"""Groups as an operator sees and removes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from hiredis import ReplyError

from pabal.model.clock import Clock, utc
from pabal.model.dead import DeadLetter
from pabal.model.errors import ConfigurationError
from pabal.model.names import check_channel, check_group
from pabal.model.outcome import ACKED
from pabal.model.transport import Delivery, GroupId, GroupStatus, Settled
from pabal.runtime.letter_channel import CHANNEL
from pabal.transports.redis.commands import Commands, Script
from pabal.transports.redis.names import Names
from pabal.transports.redis.streams.entries import Entry, Token, delivery
from pabal.transports.redis.streams.keys import StreamKeys
from pabal.transports.redis.streams.member import MEMBER, Member
from pabal.transports.redis.streams.mover import move_all
from pabal.transports.redis.streams.trimmer import Trimmer

_STATUS, _COUNT, _REMOVE = Script("status"), Script("count"), Script("remove")

_AT_ONCE = 100
_COUNTED = 1000
_SCANNED = 1000

_HEARD = 30_000
"""Milliseconds for which another client's consumer counts as living without a sign of life."""

_LIVES, _BUSY, _UNKNOWN = 0, 1, 2
"""Why a group was not removed."""

Park = Callable[[Sequence[DeadLetter]], Awaitable[None]]


class Groups:
    """Lists and removes the consumer groups of the streams under our prefix, whoever has made them.

    A member of ours is alive while its connection for requests is, which the server knows.
    """

    def __init__(
        self, commands: Commands, prefix: str, asking: Names, *, trimmer: Trimmer | None, clock: Clock, park: Park
    ) -> None:
        self._commands = commands
        self._prefix = prefix
        self._asking = asking
        self._trimmer = trimmer
        self._clock = clock
        self._park = park

    async def all(self) -> Sequence[GroupStatus]:
        """Every group of every stream; asks the server for all of its keys."""
        found = []
        for channel in await self._channels():
            keys = StreamKeys(self._prefix, channel)
            (groups,) = await self._commands.calls((("XINFO", "GROUPS", keys.stream),))
            for group in () if isinstance(groups, ReplyError) else groups:  # it may be gone by now
                name = _valid(check_group, group[1])
                status = None if name is None else await self._status(keys, name)
                if status is not None:
                    found.append(status)
        return found

    async def remove(self, group: GroupId, *, discard: bool) -> int:
        """Remove a group; returns the size of its backlog, of which dead letters are made unless `discard`."""
        if group.source == CHANNEL and not discard:
            raise ConfigurationError(
                f"{group.name!r} reads the channel {CHANNEL}, where its backlog would go: take that into a box "
                "(pabal dead --box), or discard it"
            )
        keys = StreamKeys(self._prefix, group.source)
        status = await self._status(keys, group.name)
        if status is None:
            raise _unknown(group)
        if status.members:
            raise _lives(group)
        backlog = status.ready + status.leased + await self._waiting(keys, group.name) if discard else 0
        member = Member(self._commands, keys, group.name, lease=0, start=None)
        while True:
            if not discard:
                backlog += await self._bury(member, group)
            reads = self._asking.group(group.source, group.name)
            last = await self._commands.run(_REMOVE, member.keys_of_all, (group.name, reads, int(discard)))
            if last == _LIVES:
                raise _lives(group)
            if last == _UNKNOWN:
                raise _unknown(group)
            if last != _BUSY:
                if self._trimmer is not None:
                    await self._trimmer.trim(group.source, done=last)
                return backlog

    async def _channels(self) -> list[str]:
        """The channels of which there is a stream."""
        found: set[str] = set()
        cursor = b"0"
        while True:
            words = ("SCAN", cursor, "MATCH", f"{self._prefix}*", "COUNT", _SCANNED, "TYPE", "stream")
            cursor, names = await self._commands.call(*words)
            channels = (_valid(check_channel, name[len(self._prefix) :]) for name in names)
            found.update(channel for channel in channels if channel is not None)
            if cursor == b"0":
                return sorted(found)

    async def _status(self, keys: StreamKeys, name: str) -> GroupStatus | None:
        four = (keys.stream, keys.side(name), keys.later_of(name), keys.later)
        answer = await self._commands.run(_STATUS, four, (name, self._asking.group(keys.channel, name), MEMBER, _HEARD))
        if answer is None:
            return None
        lag, after, aside, pending, waiting, delayed, members, oldest = answer
        behind = await self._count(keys, after) if lag is None else lag
        in_hand = pending if members else 0
        return GroupStatus(
            source=keys.channel,
            name=name,
            ready=behind + aside + pending - in_hand,
            waiting=waiting + delayed,
            leased=in_hand,
            oldest=_oldest(keys.channel, oldest),
            members=members,
        )

    async def _count(self, keys: StreamKeys, after: bytes) -> int:
        """How many entries of the stream stand after this one, counted in steps."""
        counted, found = 0, _COUNTED
        while found == _COUNTED:
            found, after = await self._commands.run(_COUNT, (keys.stream,), (after, _COUNTED))
            counted += found
        return counted

    async def _waiting(self, keys: StreamKeys, name: str) -> int:
        return int(await self._commands.call("ZCARD", keys.later_of(name)))

    async def _bury(self, member: Member, group: GroupId) -> int:
        """Make dead letters of all that a group without members has not ended; returns how many."""
        await member.join()
        await move_all(self._commands, member.to_move)
        buried = 0
        while entries := await member.take_over(_AT_ONCE) or await self._read(member):
            deliveries = [delivery(group.source, entry) for entry in entries]
            await self._park([self._letter(each, group) for each in deliveries])
            await member.settle([Settled(each, ACKED) for each in deliveries])
            buried += len(deliveries)
        return buried

    async def _read(self, member: Member) -> list[Entry]:
        return member.read(await self._commands.call(*member.reading(_AT_ONCE, 1)) or [])

    def _letter(self, delivery: Delivery, group: GroupId) -> DeadLetter:
        return DeadLetter(
            id="",
            message=delivery.message,
            reason="removed",
            source=group.source,
            group=group.name,
            attempts=delivery.errors,
            parked=utc(self._clock.time()),
            redrives=delivery.redrive,
        )


def _valid(check: Callable[[str], str], name: bytes) -> str | None:
    """A name of the server's, where it is one that pabal could have given."""
    try:
        return check(name.decode())
    except (UnicodeDecodeError, ConfigurationError):
        return None


def _oldest(channel: str, found: list[list[Any]]) -> datetime | None:
    entries = [Entry(Token(1, id, 1), fields) for each in found for id, fields in each]
    return min((delivery(channel, entry).message.time for entry in entries), default=None)


def _unknown(group: GroupId) -> ConfigurationError:
    return ConfigurationError(f"there is no group {group.name!r} on {group.source!r}")


def _lives(group: GroupId) -> ConfigurationError:
    return ConfigurationError(f"group {group.name!r} on {group.source!r} has living members; stop them first")
