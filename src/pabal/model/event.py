"""A message's metadata as the attributes of a CloudEvent, both ways.

What identifies a message or carries the user's data is refused where it is broken. What only describes it (a
time that is none, a name that no attribute may have) counts as absent: no hostile byte there costs a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Raw, UnsetType

from pabal.model.attributes import moment, utc_or_same
from pabal.model.errors import CodecError
from pabal.model.message import Message
from pabal.model.names import MAX_ID

HEADERS = "pabalheaders"
"""The extension with those of the user's headers that cannot travel beside the attributes, as JSON."""

UNNAMED = "urn:pabal:unnamed"
"""The source of a message that has none: CloudEvents asks for one that is not empty."""

_NAME = re.compile(r"[a-z0-9]+")


class Event(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, tag_field="specversion", tag="1.0"):
    """An event as pabal writes it; one with other attributes, or other types, goes by `message_of`."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
    source: str
    type: str
    time: datetime
    datacontenttype: str | None = None
    partitionkey: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    expirytime: datetime | None = None
    replyto: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    pabalheaders: dict[str, str] | str = {}
    data: Raw | UnsetType = UNSET
    data_base64: bytes | UnsetType = UNSET

    def message(self, channel: str, body: bytes, content_type: str | None, headers: Mapping[str, str]) -> Message:
        """The message of this event; raises CodecError for an id that no message may have."""
        return Message(
            id=self.id if self.id.isprintable() else check_event_id(self.id),
            channel=channel,
            body=body,
            key=self.partitionkey,
            headers=headers,
            content_type=content_type,
            type=self.type or channel,
            source="" if self.source == UNNAMED else self.source,
            time=utc_or_same(self.time),
            correlation_id=self.correlationid,
            causation_id=self.causationid,
            reply_to=self.replyto,
            expires=None if self.expirytime is None else utc_or_same(self.expirytime),
            attributes={} if self.traceparent is None and self.tracestate is None else self._tracing(),
        )

    def _tracing(self) -> dict[str, str]:
        both = {"traceparent": self.traceparent, "tracestate": self.tracestate}
        return {name: value for name, value in both.items() if value is not None}


_MAPPED = frozenset({"specversion", *Event.__struct_fields__}) - {"traceparent", "tracestate"}


def event_of(
    message: Message,
    headers: dict[str, str] | str,
    data: Raw | UnsetType = UNSET,
    data_base64: bytes | UnsetType = UNSET,
) -> Event:
    """The event of a message, without its further attributes (`extensions`)."""
    return Event(
        message.id,
        message.source or UNNAMED,
        message.type or message.channel,
        utc_or_same(message.time),
        message.content_type,
        message.key,
        message.correlation_id,
        message.causation_id,
        None if message.expires is None else utc_or_same(message.expires),
        message.reply_to,
        None,
        None,
        headers,
        data,
        data_base64,
    )


def extensions(message: Message) -> dict[str, str]:
    """A message's further attributes; raises CodecError for a name that none of them may have."""
    for name in message.attributes:
        if not _may_extend(name):
            raise CodecError(f"{name!r} cannot name an attribute: use a-z and 0-9, and none that pabal sets itself")
    return dict(message.attributes)


def message_of(
    channel: str,
    body: bytes,
    attributes: dict[str, str],
    headers: Mapping[str, str],
    arrived: datetime | None,
) -> Message:
    """The message of any event's attributes, which are used up; raises CodecError for no CloudEvent 1.0."""
    take = attributes.pop
    version = take("specversion", "1.0")
    if not version.startswith("1."):
        raise CodecError(f"CloudEvents {version[:20]!r} is not read here, only 1.0")
    id = check_event_id(take("id", ""))
    source = take("source", "")
    return Message(
        id=id,
        channel=channel,
        body=body,
        key=take("partitionkey", None),
        headers=headers,
        content_type=take("datacontenttype", None),
        type=take("type", "") or channel,
        source="" if source == UNNAMED else source,
        time=moment(take("time", "")) or arrived or datetime.now(UTC),
        correlation_id=take("correlationid", None),
        causation_id=take("causationid", None),
        reply_to=take("replyto", None),
        expires=moment(take("expirytime", "")),
        attributes={name: value for name, value in attributes.items() if _may_extend(name)},
    )


def check_event_id(id: str) -> str:
    """Return `id` if it may be a message id; raises CodecError otherwise."""
    if not id:
        raise CodecError("no CloudEvent: it has no id")
    if len(id) > MAX_ID or not id.isprintable():
        raise CodecError(f"the event's id {id[:40]!r} is not 1 to {MAX_ID} printable characters")
    return id


def _may_extend(name: str) -> bool:
    return name not in _MAPPED and _NAME.fullmatch(name) is not None
