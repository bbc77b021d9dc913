"""Bodies: what a person types becomes one, and one is shown as what it holds."""

from __future__ import annotations

import os
import sys
from base64 import b64encode

import msgspec

from pabal.model.codec import TEXT, is_json


def typed(text: str | None) -> object:
    """What to publish for the argument BODY: a JSON object or array byte by byte as it is, else text.

    ``-`` is standard input, to its last byte; what is no UTF-8 goes as bytes.
    """
    data = given(text)
    if data.lstrip()[:1] in (b"{", b"[") and holds_json(data):
        return msgspec.Raw(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def given(text: str | None) -> bytes:
    """The bytes of the argument BODY; ``-`` is standard input, to its last byte."""
    # Arguments that are no UTF-8 come with surrogates, by which their bytes can be had back.
    return sys.stdin.buffer.read() if text == "-" else os.fsencode(text or "")


def value_of(body: bytes, content_type: str | None) -> msgspec.Raw | str | None:
    """A body as a JSON value (on one line) or as text; None when it is neither.

    A body without a content type, from a foreign client, is text if it reads as UTF-8.
    """
    if is_json(content_type):
        return msgspec.Raw(msgspec.json.format(body, indent=-1)) if holds_json(body) else None
    if content_type is None or content_type.startswith("text/"):
        try:
            return body.decode()
        except UnicodeDecodeError:
            return None
    return None


def readable(body: bytes, content_type: str | None) -> str:
    """A body for a person's eyes."""
    value = value_of(body, content_type)
    if isinstance(value, str):
        return value
    if value is not None:
        return bytes(value).decode()
    return f"({len(body)} bytes, {content_type or 'no text'}) {b64encode(body).decode()}"


def content_of(answer: object) -> tuple[bytes, str | None]:
    """An answer that was decoded by its content type, as body and content type again."""
    if isinstance(answer, bytes):
        return answer, "application/octet-stream"
    if isinstance(answer, str):
        return answer.encode(), TEXT
    return msgspec.json.encode(answer), "application/json"


def holds_json(data: bytes) -> bool:
    """Whether these bytes are JSON."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
