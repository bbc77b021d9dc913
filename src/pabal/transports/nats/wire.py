"""Messages as NATS carries them: CloudEvents in binary mode, percent-encoded headers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from pabal.model.attributes import percent_decode, percent_encode
from pabal.model.cloudevents import foreign, from_binary, to_binary
from pabal.model.errors import CodecError
from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import GroupId, Post
from pabal.transports.nats.subjects import PROBE, queue

if TYPE_CHECKING:
    from nats.aio.msg import Msg

GROUP = "pabal-group"
"""The one group that a post is for, by the name of its queue group; the others pass it by."""
REDRIVE = "pabal-redrive"
DUE = "pabal-due"
"""Seconds since the epoch before which nobody handles a message."""
ATTEMPT = "pabal-attempt"
ERRORS = "pabal-errors"
"""What a post carries along: the deliveries that its group has had, and the failures among them."""
ONCE = "Nats-Msg-Id"
"""By which a stream tells a message that comes twice."""

_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(tuple[Failure, ...]).decode
_LINE = 4  # a colon, a space, and the end of the line
_FRAME = 12 + 2  # the version's line and the empty one at the end


def headers_of(post: Post) -> dict[str, str]:
    """The headers of a post. Where an answer goes is told by the reply subject."""
    message = post.message
    if message.reply_to is not None:
        message = replace(message, reply_to=None)
    headers = to_binary(message, percent=True)
    if post.group is not None:
        headers[GROUP] = queue(post.group.source, post.group.name)
    if post.redrive:
        headers[REDRIVE] = str(post.redrive)
    return headers


def stored_headers_of(post: Post) -> dict[str, str]:
    """The headers of a post to a stream, with the key by which it is kept once.

    What is sent again on purpose, and to one group alone, has a key of its own.
    """
    headers = headers_of(post)
    once = percent_encode(post.message.id)
    if post.redrive:
        once = f"{once}#{post.redrive}"
    if post.group is not None:
        once = f"{once}@{headers[GROUP]}"
    if post.attempt:
        headers[ATTEMPT] = str(post.attempt)
        once = f"{once}+{post.attempt}"
    if post.errors:
        headers[ERRORS] = percent_encode(_write(post.errors).decode())
    if post.due is not None:
        headers[DUE] = repr(post.due)
    headers[ONCE] = once
    return headers


def encode_headers(headers: dict[str, str]) -> bytes:
    """Headers as they stand on the wire."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"NATS/1.0\r\n{lines}\r\n".encode()


def frame(subject: str, reply: str, headers: bytes, body: bytes) -> tuple[bytes, ...]:
    """A message as the client sends it, in pieces that follow each other."""
    to = f"{subject} {reply}" if reply else subject
    return f"HPUB {to} {len(headers)} {len(headers) + len(body)}\r\n".encode(), headers, body, b"\r\n"


def carried(headers: dict[str, str]) -> tuple[int, tuple[Failure, ...]]:
    """The deliveries and the failures that a post carried along."""
    attempt = headers.get(ATTEMPT, "")
    try:
        failures = _read(percent_decode(headers[ERRORS])) if ERRORS in headers else ()
    except msgspec.DecodeError:
        failures = ()
    return int(attempt) if _is_number(attempt) else 0, failures


def due_of(headers: dict[str, str] | None) -> float:
    """When a message is due, in seconds since the epoch; 0: at once."""
    if not headers or DUE not in headers:
        return 0.0
    try:
        return float(headers[DUE])
    except ValueError:
        return 0.0


def size(headers: dict[str, str]) -> int:
    """Bytes of headers on the wire; the server's limit counts them too."""
    return _FRAME + sum(len(name) + len(value) + _LINE for name, value in headers.items())


def message_of(channel: str, received: Msg, *, id: str, arrived: datetime) -> Message:
    """The message that was received; `id` and `arrived` are for one that is no CloudEvent."""
    message = stored_message_of(channel, received, id=id, arrived=arrived)
    if received.reply and PROBE not in received.reply:
        return replace(message, reply_to=received.reply)
    return message


def stored_message_of(channel: str, received: Msg, *, id: str, arrived: datetime) -> Message:
    """As `message_of`, where the reply subject is not the publisher's but the server's."""
    headers = received.headers
    try:
        return from_binary(channel, headers or {}, received.data, percent=True, arrived=arrived)
    except CodecError:
        content_type = next((value for name, value in (headers or {}).items() if name.lower() == "content-type"), None)
        return foreign(channel, received.data, id=id, headers=headers, content_type=content_type, arrived=arrived)


def is_for(received: Msg, group: GroupId | None) -> bool:
    """Whether a message is for this group: for everybody, or for this one alone."""
    headers = received.headers
    if not headers or GROUP not in headers:
        return True
    return group is not None and headers[GROUP] == queue(group.source, group.name)


def redrive_of(received: Msg) -> int:
    """How often a message was redriven."""
    text = (received.headers or {}).get(REDRIVE, "")
    return int(text) if _is_number(text) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
