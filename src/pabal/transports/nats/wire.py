"""Messages as NATS carries them: CloudEvents in binary mode, percent-encoded headers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from pabal.model.attributes import is_safe, moment, percent_decode, percent_encode, rfc3339
from pabal.model.clock import Clock, utc
from pabal.model.cloudevents import foreign, from_binary, to_binary
from pabal.model.errors import CodecError
from pabal.model.message import Message, new_id
from pabal.model.names import MAX_ID
from pabal.model.outcome import Failure
from pabal.model.transport import GroupId, Post
from pabal.transports.nats.received import Received, parse
from pabal.transports.nats.subjects import PROBE, queue

GROUP = "pabal-group"
"""The one group that a post is for, by the name of its queue group; the others pass it by."""
REDRIVE = "pabal-redrive"
DUE = "pabal-due"
"""Seconds since the epoch before which nobody handles a message."""
_NEVER = datetime.max.replace(tzinfo=UTC).timestamp()
"""What is said to be due later than any time there is, is due at once: it would be kept for ever."""
ATTEMPT = "pabal-attempt"
ERRORS = "pabal-errors"
"""What a post carries along: the deliveries that its group has had, and the failures among them."""
ONCE = "Nats-Msg-Id"
"""By which a stream tells a message that comes twice."""

_GROUP, _DUE, _REDRIVE = GROUP.encode(), DUE.encode(), REDRIVE.encode()
_ATTEMPT, _ERRORS = ATTEMPT.encode(), ERRORS.encode()
"""Looked for before any header is read: hardly a message has them."""

_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(tuple[Failure, ...]).decode
_COMMON = {"ce-specversion", "ce-source", "ce-type", "content-type"}
_ID = b"\r\nce-id: "
_CORRELATION, _CAUSATION, _EXPIRY = "ce-correlationid: ", "ce-causationid: ", "ce-expirytime: "
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


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


def stored_headers_of(post: Post) -> bytes:
    """The headers of a post to a stream, with the key by which it is kept once.

    What is sent again on purpose, and to one group alone, has a key of its own.
    """
    message = post.message
    once = message.id if is_safe(message.id) else percent_encode(message.id)
    if post.group is None and not post.redrive and not post.attempt and not post.errors and post.due is None:
        return encoded(post, f"{ONCE}: {once}\r\n")
    headers = headers_of(post)
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
    return encode_headers(headers)


def encoded(post: Post, more: str = "") -> bytes:
    """The headers of a post as they stand on the wire, with `more` lines behind them."""
    message = post.message
    if (
        message.headers
        or message.attributes
        or post.group is not None
        or post.redrive
        or message.key is not None
        or (fixed := _fixed(message.source, message.type or message.channel, message.content_type)) is None
        or not is_safe(message.id + (message.correlation_id or "") + (message.causation_id or ""))
    ):
        return encode_headers(headers_of(post), more)
    # What nearly every message has, of which only a few lines are its own.
    if message.correlation_id is not None:
        more = f"{_CORRELATION}{message.correlation_id}\r\n{more}"
    if message.expires is not None:
        more = f"{_EXPIRY}{rfc3339(message.expires)}\r\n{more}"
    if message.causation_id is not None:
        more = f"{_CAUSATION}{message.causation_id}\r\n{more}"
    return f"{fixed}ce-id: {message.id}\r\nce-time: {_written(message.time)}\r\n{more}\r\n".encode()


@lru_cache(maxsize=1024)
def _fixed(source: str, type: str, content_type: str | None) -> str | None:
    """The lines of the headers that messages have in common; None: they are not written as they are."""
    headers = to_binary(
        Message(id="x", channel=type, source=source, type=type, content_type=content_type, time=_ANY_TIME), percent=True
    )
    if not is_safe(source) or not is_safe(type):
        return None
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if name not in ("ce-id", "ce-time")]
    return f"NATS/1.0\r\n{''.join(lines)}"


@lru_cache(maxsize=64)
def _written(time: datetime) -> str:
    return rfc3339(time)


def encode_headers(headers: dict[str, str], more: str = "") -> bytes:
    """Headers as they stand on the wire, with `more` lines behind them."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"NATS/1.0\r\n{lines}{more}\r\n".encode()


def frame(subject: str, reply: str, headers: bytes, body: bytes) -> tuple[bytes, ...]:
    """A message as the client sends it, in pieces that follow each other."""
    to = f"{subject} {reply}" if reply else subject
    return f"HPUB {to} {len(headers)} {len(headers) + len(body)}\r\n".encode(), headers, body, b"\r\n"


def carried(received: Received) -> tuple[int, tuple[Failure, ...]]:
    """The deliveries and the failures that a post carried along."""
    if received.raw is None or (_ATTEMPT not in received.raw and _ERRORS not in received.raw):
        return 0, ()
    headers = received.headers
    attempt = headers.get(ATTEMPT, "")
    try:
        failures = _read(percent_decode(headers[ERRORS])) if ERRORS in headers else ()
    except (msgspec.DecodeError, CodecError):
        failures = ()
    return int(attempt) if _is_number(attempt) else 0, failures


def due_of(received: Received) -> float:
    """When a message is due, in seconds since the epoch; 0: at once."""
    if received.raw is None or _DUE not in received.raw:
        return 0.0
    try:
        due = float(received.headers.get(DUE, 0.0))
    except ValueError:
        return 0.0
    return due if 0.0 < due < _NEVER else 0.0


def message_of(channel: str, received: Received, clock: Clock) -> Message:
    """The message that was received; one that is no CloudEvent has a new id."""
    message = stored_message_of(channel, received, lambda: (new_id(), utc(clock.time())))
    if received.reply and PROBE not in received.reply:
        return replace(message, reply_to=received.reply)
    return message


def stored_message_of(channel: str, received: Received, otherwise: Callable[[], tuple[str, datetime]]) -> Message:
    """As `message_of`, where the reply subject is not the publisher's but the server's.

    `otherwise` gives the id and the time of what is no CloudEvent, or tells none itself. No header tells where an
    answer goes: whoever wrote it could have us write anything to anybody.
    """
    plain = None if received.raw is None else _plain(channel, received.raw, received.data)
    if plain is not None:
        return plain
    headers, (id, arrived) = received.headers, otherwise()
    try:
        message = from_binary(channel, headers, received.data, percent=True, arrived=arrived)
        return message if message.reply_to is None else replace(message, reply_to=None)
    except CodecError:
        content_type = next((value for name, value in headers.items() if name.lower() == "content-type"), None)
        own = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        return foreign(channel, received.data, id=id, headers=own, content_type=content_type, arrived=arrived)


def _plain(channel: str, raw: bytes, body: bytes) -> Message | None:
    """The message of headers as `encoded` writes most of them; None: they are others."""
    at = raw.find(_ID)
    common = _common(raw[:at]) if at > 0 else None
    if common is None:
        return None
    id, time, *rest = raw[at + len(_ID) :].decode("utf-8", "replace").split("\r\n")
    correlation = causation = expires = None
    for line in rest[:-2]:
        if correlation is None and line.startswith(_CORRELATION) and is_safe(line[len(_CORRELATION) :]):
            correlation = line[len(_CORRELATION) :]
        elif causation is None and line.startswith(_CAUSATION) and is_safe(line[len(_CAUSATION) :]):
            causation = line[len(_CAUSATION) :]
        elif expires is None and line.startswith(_EXPIRY):
            expires = moment(line[len(_EXPIRY) :])
            if expires is None:
                return None
        elif not line.startswith("Nats-Msg-Id: "):
            return None
    when = _time(time[9:]) if time.startswith("ce-time: ") else None
    if when is None or not is_safe(id) or not 0 < len(id) <= MAX_ID:
        return None
    return Message(
        id=id,
        channel=channel,
        body=body,
        content_type=common.content_type,
        type=common.type,
        source=common.source,
        time=when,
        correlation_id=correlation,
        causation_id=causation,
        expires=expires,
    )


@lru_cache(maxsize=1024)
def _common(raw: bytes) -> Message | None:
    """A message with the attributes that stand in these lines; None: there are others, or too few."""
    headers = parse(raw)
    if not {"ce-specversion", "ce-source", "ce-type"} <= headers.keys() <= _COMMON or not headers["ce-type"]:
        return None
    try:
        return from_binary("x", {**headers, "ce-id": "x"}, b"", percent=True, arrived=_ANY_TIME)
    except CodecError:
        return None


_time = lru_cache(maxsize=64)(moment)


def is_for(received: Received, group: GroupId | None) -> bool:
    """Whether a message is for this group: for everybody, or for this one alone."""
    if received.raw is None or _GROUP not in received.raw:
        return True
    headers = received.headers
    if GROUP not in headers:
        return True
    return group is not None and headers[GROUP] == queue(group.source, group.name)


def redrive_of(received: Received) -> int:
    """How often a message was redriven."""
    if received.raw is None or _REDRIVE not in received.raw:
        return 0
    text = received.headers.get(REDRIVE, "")
    return int(text) if _is_number(text) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
