"""The values of CloudEvents attributes: as canonical text, as times, in HTTP headers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import msgspec

from pabal.model.errors import CodecError

# CloudEvents HTTP binding, section 3.1.3.2: printable ASCII without space, double quote and percent.
_SAFE = bytes(c for c in range(0x21, 0x7F) if c not in b'"%')


def text(value: object) -> str:
    """A foreign value as canonical text without lone surrogates; None is empty.

    Booleans, numbers and times are written as CloudEvents does (section 3.1), bytes are UTF-8, the rest is
    JSON.
    """
    if isinstance(value, str):
        if value.isascii():
            return value
        try:  # A lone surrogate may stand for a byte that a client could not decode (PEP 383).
            raw = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raw = value.encode("utf-8", "backslashreplace")
        return raw.decode("utf-8", "backslashreplace")
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, datetime):
        return rfc3339(value)
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"a {type(value).__name__} is no attribute or header: {error}") from error


def rfc3339(time: datetime) -> str:
    """A time as CloudEvents writes it: UTC with ``Z``, its microseconds kept."""
    written: str = msgspec.to_builtins(utc_or_same(time))  # a tenth of the time that isoformat takes
    return written


def moment(text: str) -> datetime | None:
    """The aware UTC time of an RFC 3339 text, None for what is none."""
    if not text:
        return None
    try:
        return utc_or_same(msgspec.convert(text, datetime))
    except msgspec.ValidationError:
        return None


def utc_or_same(time: datetime) -> datetime:
    """`time` in UTC; one without a zone is taken as UTC, one that UTC has no date for stays as it is."""
    if time.tzinfo is UTC:
        return time
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return time


def is_safe(value: str) -> bool:
    """Whether `value` stands in a header of the CloudEvents HTTP binding as it is."""
    return value.isascii() and not value.encode().translate(None, _SAFE)


def percent_encode(value: str) -> str:
    """`value` for such a header (section 3.1.3.2); raises CodecError for a lone surrogate."""
    try:
        return quote(value, safe=_SAFE)
    except UnicodeEncodeError as error:
        raise CodecError(f"{value[:40]!r} is no UTF-8: {error}") from error


def percent_decode(value: str) -> str:
    """The value of such a header, older double-quoted ones too; raises CodecError for broken UTF-8."""
    if len(value) > 1 and value[0] == '"' == value[-1]:
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise CodecError(f"a header is no percent-encoded UTF-8: {error}") from error
