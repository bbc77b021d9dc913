"""The message: what travels, immutable."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import count
from threading import Lock
from time import time_ns

import msgspec

from pabal.model.errors import ConfigurationError

_random = random.Random(os.urandom(32))  # noqa: S311 - ids are unique, they are not secrets
_MILLISECOND = 1_000_000
_RESERVED = re.compile(r"(?i)ce[-_]|pabal-|nats-")
# Control characters, line and paragraph separators (str.splitlines breaks there), lone surrogates.
_CHANGED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message as it was published; a handler may ask for it by annotation.

    Attributes:
        id: made once, at publish; the deduplication key. A UUIDv7 unless the publisher gave another.
        channel: the address it was published to.
        body: the payload as bytes.
        key: messages of one key keep their order where a handler is ``ordered``.
        headers: the user's own.
        content_type: the body's media type, or None where a foreign client gave none.
        type: the CloudEvents type; the channel unless a foreign client gave another.
        source: the CloudEvents source: the name of the bus that published it.
        time: when it was published, aware UTC.
        correlation_id: the id of the first message of the conversation.
        causation_id: the id of the message whose handler published this one.
        reply_to: where an answer goes; set on requests only.
        expires: when it loses its worth, aware UTC, or None.
        attributes: further CloudEvents attributes and extensions, as text.
    """

    id: str
    channel: str
    body: bytes = b""
    key: str | None = None
    headers: Mapping[str, str] = {}
    content_type: str | None = None
    type: str = ""
    source: str = ""
    time: datetime
    correlation_id: str | None = None
    causation_id: str | None = None
    reply_to: str | None = None
    expires: datetime | None = None
    attributes: Mapping[str, str] = {}


def new_id() -> str:
    """A new message id: UUID version 7 (RFC 9562, section 5.7), its time in milliseconds first.

    The ids of a process rise: within a millisecond they count up from a random number (section 6.2, method 2), and
    they go on counting while the clock goes back.
    """
    until, prefix, following = _ids
    if time_ns() >= until:
        until, prefix, following = _renewed()
    return prefix + following().to_bytes(6, "big").hex()


def _renewed() -> tuple[int, str, Callable[[], int]]:
    """When the millisecond of the next ids is over, what they begin with, and what gives them their ends."""
    global _ids  # noqa: PLW0603 - replaced as a whole, so that no thread meets half of it
    with _renewing:
        now = time_ns()
        if now >= _ids[0]:
            millisecond = now // _MILLISECOND
            time, high, middle = f"{millisecond:012x}", _random.getrandbits(12), 0x8000 | _random.getrandbits(14)
            low = count(_random.getrandbits(47))  # of 48 bits, so that there is room to count
            prefix = f"{time[:8]}-{time[8:]}-7{high:03x}-{middle:04x}-"
            _ids = (millisecond + 1) * _MILLISECOND, prefix, low.__next__
        return _ids


def _begin() -> None:
    global _ids, _renewing  # noqa: PLW0603 - as in a new process
    _random.seed(os.urandom(32))
    _renewing = Lock()
    _ids = 0, "", int


_renewing = Lock()
_ids: tuple[int, str, Callable[[], int]] = 0, "", int
os.register_at_fork(after_in_child=_begin)


def check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return `headers` if every client would keep them as they are; raises ConfigurationError otherwise.

    Names are HTTP tokens (RFC 9110, section 5.6.2) that do not begin with ``ce-``, ``ce_``, ``pabal-`` or
    ``Nats-``; values are text without control characters or outer spaces, which clients change in silence.
    """
    for name, value in headers.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"a header's name is a str, not {type(name).__name__}")
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"bad header name {name!r}: use letters, digits and -, up to 200 characters")
        if _RESERVED.match(name):
            raise ConfigurationError(f"header name {name!r} is reserved: ce-, ce_, pabal- and Nats- are not the user's")
        if not isinstance(value, str):
            raise ConfigurationError(f"header {name!r} is a {type(value).__name__}; a header's value is a str")
        if value != value.strip() or _CHANGED.search(value):
            raise ConfigurationError(
                f"header {name!r} has control characters or outer spaces, which clients change in silence"
            )
    return headers


def is_reserved(name: str) -> bool:
    """Whether a header's name is not the user's to give."""
    return _RESERVED.match(name) is not None


def survives(name: str, value: str) -> bool:
    """Whether every client keeps this header of the user's as it is.

    ``Content-Type`` is the body's: a header of that name would change what the body is read as.
    """
    return _names_own(name) and value == value.strip() and not _CHANGED.search(value)


@lru_cache(maxsize=4096)
def _names_own(name: str) -> bool:
    return _HEADER_NAME.fullmatch(name) is not None and not is_reserved(name) and name.lower() != "content-type"
