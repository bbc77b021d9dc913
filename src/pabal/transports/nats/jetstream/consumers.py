"""Groups as durable consumers, listeners as consumers that end with them."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from pabal.model.errors import ConfigurationError
from pabal.model.transport import OnDead, Source, Start
from pabal.transports.nats.jetstream.api import NANO, NO_CONSUMER, NO_STREAM, Api, ApiError
from pabal.transports.nats.jetstream.names import consumer_name, overlap
from pabal.transports.nats.jetstream.options import LEASE
from pabal.transports.nats.jetstream.streams import Stream
from pabal.transports.nats.subjects import Subjects

_INACTIVE = 300.0
"""Seconds after which the server ends a listener's consumer that nobody asks."""
_MOST_WAITING = 4096
"""Members of one group that may ask at the same time, about."""

IsRead = Callable[[str, str], Awaitable[bool]]


class Mode(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a group is read, as its consumer's description says it; that is how pabal knows its own."""

    source: str
    group: str
    ordered: bool = False
    on_dead: OnDead = "park"

    def __str__(self) -> str:
        return f"ordered, on_dead={self.on_dead}" if self.ordered else "not ordered"


class Consumer(msgspec.Struct, frozen=True):
    """A consumer at the server.

    `lease` is in seconds, None: nothing is acknowledged. `most` is how many messages one request may ask for, None:
    as many as it likes.
    """

    stream: Stream
    name: str
    lease: float | None
    most: int | None


def mode_of(config: dict[str, Any]) -> Mode | None:
    """How a consumer is read that pabal made; None: somebody else did."""
    head, _, text = config.get("description", "").partition(" ")
    if head != "pabal":
        return None
    try:
        return msgspec.json.decode(text, type=Mode)
    except msgspec.DecodeError:
        return None


class Consumers:
    """Finds and makes consumers. `is_read` tells whether a consumer of a stream has living members."""

    def __init__(self, api: Api, subjects: Subjects, *, lease: float | None, is_read: IsRead) -> None:
        self._api = api
        self._subjects = subjects
        self._lease = lease
        self._is_read = is_read

    async def of_group(self, stream: Stream, source: Source) -> Consumer:
        """The consumer of a group, made if need be.

        Raises ConfigurationError where it is read in another mode.
        """
        assert source.group is not None  # noqa: S101 - or it is a listener
        name = consumer_name(source.channel, source.group)
        mode = Mode(source.channel, source.group, source.ordered, source.on_dead if source.ordered else "park")
        info = await self.info(stream.name, name)
        if info is None:
            config = self._config(name, mode, await self._start(stream, source), self._lease or LEASE)
            try:
                info = await self._create(stream.name, name, config)
            except ApiError:
                info = await self.info(stream.name, name)  # another member was first
                if info is None:
                    raise
        return await self._agreed(stream, info, mode, takes=source.window > 0)

    async def of_listener(
        self, stream: Stream, subject: str, *, start: Start | None = None, after: int | None = None
    ) -> tuple[Consumer, int]:
        """A consumer for one listener alone, and the position after which it begins: `after`, or as `start` says."""
        name = f"pabal-listener-{secrets.token_hex(8)}"
        config: dict[str, Any] = {
            "name": name,
            "filter_subject": subject,
            "ack_policy": "none",
            "max_waiting": _MOST_WAITING,
            "inactive_threshold": round(_INACTIVE * NANO),
            "mem_storage": True,
            "num_replicas": 1,
            "replay_policy": "instant",
        }
        if after is not None:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
        else:
            config |= _begins(start or "new")
        request = {"stream_name": stream.name, "config": config}
        info = await self._api.ask(f"CONSUMER.CREATE.{stream.name}.{name}.{subject}", request)
        return Consumer(stream, name, None, _most(info)), info["delivered"]["stream_seq"]

    async def info(self, stream: str, name: str) -> dict[str, Any] | None:
        """What the server says of a consumer; None: there is none."""
        try:
            return await self._api.ask(f"CONSUMER.INFO.{stream}.{name}")
        except ApiError as error:
            if error.code in (NO_CONSUMER, NO_STREAM):
                return None
            raise

    async def of_stream(self, stream: str) -> list[dict[str, Any]]:
        """What the server says of all consumers of a stream."""
        found: list[dict[str, Any]] = []
        while True:
            answer = await self._api.ask(f"CONSUMER.LIST.{stream}", {"offset": len(found)})
            page = answer.get("consumers") or []
            found += page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def delete(self, stream: str, name: str) -> None:
        """Remove a consumer, if it is there."""
        try:
            await self._api.ask(f"CONSUMER.DELETE.{stream}.{name}")
        except ApiError as error:
            if error.code not in (NO_CONSUMER, NO_STREAM):
                raise

    async def _start(self, stream: Stream, source: Source) -> dict[str, Any]:
        """Where a new group begins: as asked, else the first of its channel with the oldest, a later one now."""
        start = source.start
        if start is None:
            subject = self._subjects.of(source.channel)
            others = await self.of_stream(stream.name)
            first = not any(mode_of(each["config"]) and overlaps(each["config"], subject) for each in others)
            start = "oldest" if first else "new"
        return _begins(start)

    def _config(self, name: str, mode: Mode, start: dict[str, Any], lease: float) -> dict[str, Any]:
        return {
            "durable_name": name,
            "filter_subject": self._subjects.of(mode.source),
            "ack_policy": "explicit",
            "max_deliver": -1,
            "max_waiting": _MOST_WAITING,
            "replay_policy": "instant",
            **_told(mode, lease),
            **start,
        }

    async def _create(self, stream: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
        return await self._api.ask(
            f"CONSUMER.DURABLE.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}
        )

    async def _agreed(self, stream: Stream, info: dict[str, Any], mode: Mode, *, takes: bool) -> Consumer:
        """A group's consumer, once it is read as asked: changed only while nobody reads it."""
        config = info["config"]
        there, lease = mode_of(config), config["ack_wait"] / NANO
        name = info["name"]
        if there is None or (there.source, there.group) != (mode.source, mode.group):
            raise ConfigurationError(
                f"the consumer {name!r} of the stream {stream.name!r} is not what pabal makes for {mode.group!r} on "
                f"{mode.source!r}: its description is {config.get('description', '')!r}; remove it, or rename the group"
            )
        _check(stream, config, self._config(name, there, {}, lease))
        wanted = self._lease or lease
        if there == mode and wanted == lease:
            return Consumer(stream, name, lease, _most(info))
        if there != mode:
            why = f"it is read {there}, not {mode}"
            backlog = info["num_pending"] + info["num_ack_pending"]
            if backlog:
                raise ConfigurationError(f"group {mode.group!r} on {mode.source!r} has a backlog: {why}")
        else:
            why = f"its lease is {lease:g} s, not {wanted:g} s"
        if not takes or await self._is_read(stream.name, name):
            raise ConfigurationError(f"group {mode.group!r} on {mode.source!r} has living members: {why}")
        await self._create(stream.name, name, config | _told(mode, wanted))
        return Consumer(stream, name, wanted, _most(info))


def _most(info: dict[str, Any]) -> int | None:
    return info["config"].get("max_batch") or None


_KEPT = ("filter_subject", "ack_policy", "max_deliver")
"""What of a group's consumer nobody else may have changed: it would be given less than it is promised."""


def _check(stream: Stream, config: dict[str, Any], made: dict[str, Any]) -> None:
    for key in (*_KEPT, "max_ack_pending") if made["max_ack_pending"] == 1 else _KEPT:
        if config.get(key) != made[key]:
            raise ConfigurationError(
                f"the consumer {config['durable_name']!r} of the stream {stream.name!r} has {key}={config.get(key)}, "
                f"pabal makes it with {key}={made[key]}: change it back"
            )


def _begins(start: Start) -> dict[str, Any]:
    if isinstance(start, datetime):
        at = start.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return {"deliver_policy": "by_start_time", "opt_start_time": at}
    return {"deliver_policy": "all" if start == "oldest" else "new"}


def _told(mode: Mode, lease: float) -> dict[str, Any]:
    """What a group's mode and lease make of its consumer."""
    return {
        "description": f"pabal {msgspec.json.encode(mode).decode()}",
        "ack_wait": round(lease * NANO),
        "max_ack_pending": 1 if mode.ordered else -1,
    }


def overlaps(config: dict[str, Any], subject: str) -> bool:
    """Whether a consumer takes anything of a subject or pattern."""
    filters = config.get("filter_subjects") or [config.get("filter_subject") or ">"]
    return any(overlap(each, subject) for each in filters)
