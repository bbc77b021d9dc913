"""Messages as CloudEvents 1.0, in the three forms in which they travel.

Binary mode where a transport has headers, structured mode where it has none, and a packed form for tables
and streams that keep metadata and body apart. A message that comes back from any of them equals what was
sent, its ``type`` filled in with the channel where it had none.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md and, beside it, formats/json-format.md and
bindings/http-protocol-binding.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from pabal.model.attributes import is_safe, percent_decode, percent_encode, rfc3339, text
from pabal.model.codec import JSON, is_json, is_text
from pabal.model.errors import CodecError
from pabal.model.event import HEADERS, UNNAMED, Event, event_of, extensions, message_of
from pabal.model.message import Message, is_reserved, survives

STRUCTURED = "application/cloudevents+json"
"""The content type of structured mode."""

_write = msgspec.json.Encoder().encode
_read_event = msgspec.json.Decoder(Event).decode
_read_members = msgspec.json.Decoder(dict[str, Raw]).decode
_read = msgspec.json.Decoder().decode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON it expects."""


def pack(message: Message) -> bytes:
    """All of a message but its channel and body, as one JSON object.

    It is a CloudEvent of the JSON format without data, but that the user's headers are an object.
    Raises CodecError for text that is no UTF-8.
    """
    return _encode(message, event_of(message, dict(message.headers) if message.headers else {}))


def unpack(channel: str, packed: bytes, body: bytes, *, arrived: datetime | None = None) -> Message:
    """The message of `pack`'s object, or of one that somebody else wrote.

    `arrived` is taken for the time of an event that has none; None: now. Raises CodecError for no event.
    """
    try:
        event = _read_event(packed)
    except _UNREADABLE:
        return _from_members(channel, packed, body, arrived)
    own = event.pabalheaders if isinstance(event.pabalheaders, dict) else _own_headers(event.pabalheaders)
    return event.message(channel, body, event.datacontenttype, own)


def to_structured(message: Message) -> bytes:
    """A whole message as one JSON object, in structured mode.

    A JSON body stands in ``data`` as it is, text as a JSON string, and anything else, broken JSON and text
    too, in ``data_base64``: always such that the very bytes come back. Raises CodecError for text that is
    no UTF-8.
    """
    headers = _write(dict(message.headers)).decode() if message.headers else ""
    return _encode(message, event_of(message, headers or {}, *_data(message.body, message.content_type)))


def from_structured(channel: str, event: bytes, *, arrived: datetime | None = None) -> Message:
    """The message of an event in structured mode.

    `arrived` is taken for the time of an event that has none; None: now. Raises CodecError for no event.
    """
    try:
        known = _read_event(event)
    except _UNREADABLE:
        return _from_members(channel, event, None, arrived)
    body, content_type = _payload(known.data, known.data_base64, known.datacontenttype)
    own = known.pabalheaders if isinstance(known.pabalheaders, dict) else _own_headers(known.pabalheaders)
    return known.message(channel, body, content_type, own)


def to_binary(
    message: Message, *, prefix: str = "ce-", percent: bool = False, content_type: str | None = "content-type"
) -> dict[str, str]:
    """The headers of a message in binary mode: its attributes, and the user's headers under their own names.

    `percent` is for transports whose headers are ASCII: attributes are percent-encoded. A header of the
    user's that some client would change travels in the extension ``pabalheaders``. `content_type` is the name of
    the header for the body's media type; None leaves it out, for transports that have a property for it.
    """
    headers = _attributes(message, prefix)
    beside: dict[str, str] = {}
    if message.headers:
        beside, folded = _apart(message.headers, plain=percent)
        if folded:
            headers[prefix + HEADERS] = _write(folded).decode()
    if content_type is not None and message.content_type is not None:
        if _stands(message.content_type, plain=percent):
            beside[content_type] = message.content_type
        else:
            headers[prefix + "datacontenttype"] = message.content_type
    if percent and not is_safe("".join(headers.values())):
        headers = {name: percent_encode(value) for name, value in headers.items()}
    return headers | beside if beside else headers


def from_binary(
    channel: str,
    headers: Mapping[str, object],
    body: bytes,
    *,
    prefix: str = "ce-",
    percent: bool = False,
    content_type: str | None = None,
    arrived: datetime | None = None,
) -> Message:
    """The message of headers and body in binary mode, or in structured mode where the content type says so.

    Header names count in any case; values of any type are taken as text. `content_type` is that of a
    transport with a property for it. `arrived` is taken for the time of an event that has none; None: now.
    Raises CodecError for what is no CloudEvent; take that with `foreign`.
    """
    attributes, own, stated = _sorted(headers, prefix, percent=percent)
    if content_type is None:
        content_type = stated
    if is_structured(content_type):
        message = from_structured(channel, body, arrived=arrived)
        return msgspec.structs.replace(message, headers={**own, **message.headers}) if own else message
    if HEADERS in attributes:
        own.update(_own_headers(attributes.pop(HEADERS)))
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    try:
        event = msgspec.convert(attributes, Event)
    except msgspec.ValidationError:
        return message_of(channel, body, attributes, own, arrived)
    return event.message(channel, body, event.datacontenttype, own)


def is_structured(content_type: str | None) -> bool:
    """Whether a content type says that the body is a whole event as JSON."""
    return content_type is not None and content_type.lower().startswith(STRUCTURED)


def foreign(
    channel: str,
    body: bytes,
    *,
    id: str,
    key: str | None = None,
    headers: Mapping[str, object] | None = None,
    content_type: str | None = None,
    arrived: datetime | None = None,
) -> Message:
    """A message of what is no CloudEvent, taken as it is.

    `id` derives from its position, so that it is the same at every delivery. `arrived` is its time; None: now.
    """
    own = {text(name): text(value) for name, value in (headers or {}).items() if not is_reserved(name)}
    return Message(
        id=id,
        channel=channel,
        body=body,
        key=key,
        headers=own,
        content_type=content_type,
        type=channel,
        time=arrived or datetime.now(UTC),
    )


def _encode(message: Message, event: Event) -> bytes:
    try:
        if message.attributes:
            return _write(event)[:-1] + b"," + _write(extensions(message))[1:]
        return _write(event)
    except (UnicodeEncodeError, TypeError) as error:
        raise CodecError(f"message {message.id!r} cannot be written as JSON: {error}") from error


def _from_members(channel: str, event: bytes, body: bytes | None, arrived: datetime | None) -> Message:
    """The slow way: any event in JSON; with its own data as the body where `body` is None."""
    try:
        raw = _read_members(event)
        data = raw.pop("data", UNSET)
        members = {name: _read(value) for name, value in raw.items()}
        encoded = members.pop("data_base64", None)
        data_base64 = UNSET if encoded is None else msgspec.convert(encoded, bytes)
    except _UNREADABLE as error:
        raise CodecError(f"no CloudEvent in JSON: {error}") from error
    own = members.pop(HEADERS, {})
    attributes = {name: text(value) for name, value in members.items() if value is not None}
    if body is None:
        body, content_type = _payload(data, data_base64, attributes.get("datacontenttype"))
        if content_type is not None:
            attributes["datacontenttype"] = content_type
    return message_of(channel, body, attributes, _own_headers(own), arrived)


def _own_headers(written: object) -> dict[str, str]:
    """The user's headers of the extension; raises CodecError when it has none in it."""
    if isinstance(written, str):
        try:
            written = _read(written)
        except _UNREADABLE as error:
            raise CodecError(f"{HEADERS} is no JSON: {error}") from error
    if not isinstance(written, dict):
        raise CodecError(f"{HEADERS} is a {type(written).__name__}, not an object of texts")
    return {name: text(value) for name, value in written.items()}


def _attributes(message: Message, prefix: str) -> dict[str, str]:
    """A message's attributes under their headers' names, but for the content type."""
    headers = {
        prefix + "specversion": "1.0",
        prefix + "id": message.id,
        prefix + "source": message.source or UNNAMED,
        prefix + "type": message.type or message.channel,
        prefix + "time": rfc3339(message.time),
    }
    if message.key is not None:
        headers[prefix + "partitionkey"] = message.key
    if message.correlation_id is not None:
        headers[prefix + "correlationid"] = message.correlation_id
    if message.causation_id is not None:
        headers[prefix + "causationid"] = message.causation_id
    if message.reply_to is not None:
        headers[prefix + "replyto"] = message.reply_to
    if message.expires is not None:
        headers[prefix + "expirytime"] = rfc3339(message.expires)
    if message.attributes:
        headers.update({prefix + name: value for name, value in extensions(message).items()})
    return headers


def _sorted(
    headers: Mapping[str, object], prefix: str, *, percent: bool
) -> tuple[dict[str, str], dict[str, str], str | None]:
    """The attributes, the user's own headers, and the content type that the headers state."""
    attributes: dict[str, str] = {}
    own: dict[str, str] = {}
    content_type = None
    known = _known(prefix)
    for name, value in headers.items():
        written = value if type(value) is str and value.isascii() else text(value)
        attribute = known.get(name)
        if attribute is None:
            lowered = name.lower()
            if not lowered.startswith(prefix):
                if lowered == "content-type":
                    content_type = written
                elif not is_reserved(name):
                    own[text(name)] = written
                continue
            attribute = lowered[len(prefix) :]
        if percent and ("%" in written or '"' in written):
            written = percent_decode(written)
        if value is not None:
            attributes[attribute] = written
    return attributes, own, content_type


@lru_cache(maxsize=8)
def _known(prefix: str) -> dict[str, str]:
    """The attributes that pabal writes, by the names of their headers."""
    return {prefix + name: name for name in ("specversion", *Event.__struct_fields__)}


def _apart(own: Mapping[str, str], *, plain: bool) -> tuple[dict[str, str], dict[str, str]]:
    """The user's headers that travel under their own names, and those that some client would change."""
    beside = {name: value for name, value in own.items() if _travels(name, value, plain=plain)}
    if len(beside) == len(own):
        return beside, {}
    return beside, {name: value for name, value in own.items() if name not in beside}


def _travels(name: str, value: str, *, plain: bool) -> bool:
    return survives(name, value) and (not plain or value.isascii())


@lru_cache(maxsize=256)
def _stands(content_type: str, *, plain: bool) -> bool:
    """Whether a content type stands in its own header: a nested event's would be taken for this one's mode."""
    return not is_structured(content_type) and (not plain or _travels("type", content_type, plain=True))


def _data(body: bytes, content_type: str | None) -> tuple[Raw | UnsetType, bytes | UnsetType]:
    """What stands in ``data`` and in ``data_base64``."""
    if not body:
        return UNSET, UNSET
    form = _inline(content_type)
    try:
        # Outer white space would be lost: it belongs to the object around, not to the value.
        if form == "json" and body[0] > 0x20 and body[-1] > 0x20:
            _read(body)
            return Raw(body), UNSET
        if form == "text":
            return Raw(_write(body.decode())), UNSET
    except _UNREADABLE:
        pass
    return UNSET, body


def _payload(
    data: Raw | UnsetType, data_base64: bytes | UnsetType, content_type: str | None
) -> tuple[bytes, str | None]:
    """The body and its content type; ``data`` without a content type is JSON (JSON format, section 3.1)."""
    if isinstance(data, UnsetType):
        return b"" if isinstance(data_base64, UnsetType) else data_base64, content_type
    body = bytes(data)
    if content_type is None or is_json(content_type):
        return body, content_type or JSON
    if body == b"null":
        return b"", content_type
    if body.startswith(b'"'):
        try:
            return msgspec.json.decode(body, type=str).encode(), content_type
        except _UNREADABLE as error:
            raise CodecError(f"the event's data is no text: {error}") from error
    return body, content_type


@lru_cache(maxsize=1024)
def _inline(content_type: str | None) -> Literal["json", "text"] | None:
    if is_json(content_type):
        return "json"
    _, _, parameters = (content_type or "").lower().partition(";")
    if is_text(content_type) and parameters.strip() in ("", "charset=utf-8", 'charset="utf-8"'):
        return "text"
    return None
