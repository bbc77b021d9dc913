"""Messages as entries of a stream: the field ``ce`` has the attributes as JSON, ``data`` the body."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import blake2b

import msgspec

from pabal.model.clock import utc
from pabal.model.cloudevents import foreign, from_structured, pack, unpack
from pabal.model.errors import CodecError
from pabal.model.message import Message
from pabal.model.names import MAX_ID
from pabal.model.outcome import Failure
from pabal.model.transport import Delivery, Post
from pabal.transports.redis.commands import Word

_EVENT, _DATA, _STATE, _ERRORS = b"ce", b"data", b"pabal", b"pabal-errors"

_POSITION = re.compile(r"[0-9]{1,20}-[0-9]{1,20}", re.ASCII)
_LATEST = 253_370_764_800.0
"""The year 9999. Ids may be of any time: who writes their own may not count in milliseconds."""

_write_errors = msgspec.json.Encoder().encode
_read_errors = msgspec.json.Decoder(tuple[Failure, ...]).decode


class Token(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What a delivery is known by: the stream (1) or the group's side stream (2), the entry, how often it came."""

    which: int
    id: bytes
    times: int


class Entry(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A delivered entry as the server gave it."""

    token: Token
    fields: list[bytes]


def fields(post: Post) -> list[Word]:
    """A post as the fields of an entry. Raises CodecError for what cannot be written."""
    words: list[Word] = [_EVENT, pack(post.message), _DATA, post.message.body]
    if post.attempt or post.redrive:
        words += [_STATE, f"{post.attempt} {post.redrive} -"]
    if post.errors:
        words += [_ERRORS, errors_text(post.errors)]
    return words


def errors_text(errors: tuple[Failure, ...]) -> bytes:
    """Failures as an entry carries them along."""
    return _write_errors(errors)


def delivery(channel: str, entry: Entry) -> Delivery:
    """The delivery of an entry, whoever wrote it."""
    token, fields = entry.token, entry.fields
    if len(fields) == 4 and fields[0] == _EVENT and fields[2] == _DATA:
        try:
            return Delivery(unpack(channel, fields[1], fields[3]), token.times, token=token)
        except CodecError:
            pass
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    attempt, redrive, origin = _state(named.pop(_STATE, b""))
    errors = _errors(named.pop(_ERRORS, b""))
    message = _message(channel, named, origin or token.id.decode())
    return Delivery(message, attempt + token.times, errors, redrive, token)


def _message(channel: str, named: dict[bytes, bytes], position: str) -> Message:
    arrived = _time(position)
    event = named.get(_EVENT)
    if event is not None:
        try:
            if _DATA in named:
                return unpack(channel, event, named[_DATA], arrived=arrived)
            return from_structured(channel, event, arrived=arrived)
        except CodecError:
            pass
    id = f"{position}@{channel}"
    if len(id) > MAX_ID:
        id = f"{position}@{blake2b(channel.encode(), digest_size=16).hexdigest()}"
    if list(named) == [_DATA]:
        return foreign(channel, named[_DATA], id=id, arrived=arrived)
    texts = {_text(name): _text(value) for name, value in named.items()}
    body = msgspec.json.encode(texts)
    return foreign(channel, body, id=id, content_type="application/json", arrived=arrived)


def _state(written: bytes) -> tuple[int, int, str]:
    """How many attempts an entry has behind it, how often it was redriven, and where it was at first."""
    parts = written.decode(errors="replace").split(" ")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts[:2]):
        return 0, 0, ""
    return int(parts[0]), int(parts[1]), parts[2] if _POSITION.fullmatch(parts[2]) else ""


def _time(position: str) -> datetime:
    return utc(min(int(position.partition("-")[0]) / 1000, _LATEST))


def _errors(written: bytes) -> tuple[Failure, ...]:
    if not written:
        return ()
    try:
        return _read_errors(written)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
