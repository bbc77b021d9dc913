"""Messages as Redis carries them."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from pabal.model.cloudevents import foreign, from_structured, to_structured
from pabal.model.errors import CodecError
from pabal.model.message import Message, new_id
from pabal.model.transport import Post

_REDRIVE = "pabalredrive"
_CHANNEL = "pabalchannel"
"""Extensions of a message on Pub/Sub: how often it was redriven, and the channel of one that goes to one group."""

_ID = b'{"specversion":"1.0","id":"'
_REDRIVEN = b'"pabalredrive":"'


def payload(post: Post) -> bytes:
    """A post for Pub/Sub: a CloudEvent in structured mode. Raises CodecError for what cannot be written."""
    message = post.message
    if post.group is not None or post.redrive:
        beside = {_REDRIVE: str(post.redrive)} if post.redrive else {}
        if post.group is not None:
            beside = {_CHANNEL: message.channel, **beside}
        message = replace(message, attributes={**message.attributes, **beside})
    return to_structured(message)


def needs_no_claim(payload: bytes) -> bool:
    """Whether the publisher has seen to it that only one member of each group gets this."""
    return payload.endswith(b"}\t") and payload.startswith(_ID)


def identity(payload: bytes) -> bytes:
    """By what the members of a group claim a message: its id and redrive; empty for what has no id."""
    if payload.startswith(_ID):
        end = payload.find(b'"', len(_ID))
        id = payload[len(_ID) : end]
        if end > 0 and b"\\" not in id:
            _, redriven, number = payload[-40:].partition(_REDRIVEN)
            return id + b"#" + number if redriven else id
    try:
        message, redrive = opened("", payload)
    except CodecError:
        return b""
    return f"{message.id}#{redrive}".encode() if redrive else message.id.encode()


def opened(channel: str, payload: bytes, *, arrived: datetime | None = None) -> tuple[Message, int]:
    """The message of a payload of Pub/Sub, and how often it was redriven; raises CodecError for no CloudEvent."""
    message = from_structured(channel, payload, arrived=arrived)
    attributes = message.attributes
    if not attributes or (_REDRIVE not in attributes and _CHANNEL not in attributes):
        return message, 0
    rest = dict(attributes)
    redrive = rest.pop(_REDRIVE, "0")
    channel = rest.pop(_CHANNEL, channel)
    number = int(redrive) if redrive.isascii() and redrive.isdigit() and len(redrive) < 10 else 0
    return replace(message, channel=channel, attributes=rest), number


def taken(channel: str, payload: bytes, *, arrived: datetime) -> tuple[Message, int]:
    """The message of any payload of Pub/Sub: what is no CloudEvent is the body, with an id made here."""
    try:
        return opened(channel, payload, arrived=arrived)
    except CodecError:
        return foreign(channel, payload, id=new_id(), arrived=arrived), 0
