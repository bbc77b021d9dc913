"""Values to bodies and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, get_args

import msgspec

from pabal.model.errors import CodecError

JSON = "application/json"
TEXT = "text/plain"
BINARY = "application/octet-stream"

Decode: TypeAlias = Callable[[bytes, str | None], Any]


class Codec(Protocol):
    """How values become bodies. A custom codec is one object with these two methods."""

    def encode(self, value: object, /) -> tuple[bytes, str]:
        """The body of `value` and its content type; raises CodecError."""
        ...

    def decode(self, body: bytes, content_type: str | None, type: Any, /) -> Any:
        """The value of `body` as `type` (`typing.Any`: whatever it is); raises CodecError."""
        ...


class JsonCodec:
    """JSON by msgspec; `bytes` and `str` pass as they are."""

    def __init__(self) -> None:
        self._json = msgspec.json.Encoder().encode

    def encode(self, value: object, /) -> tuple[bytes, str]:
        """JSON of `value`; bytes and text as they are. Raises CodecError for a value that JSON cannot hold."""
        if isinstance(value, str):
            return value.encode(), TEXT
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value), BINARY
        try:
            return self._json(value), JSON
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise CodecError(f"a {type(value).__name__} cannot be sent as JSON: {error}") from error

    def decode(self, body: bytes, content_type: str | None, type: Any, /) -> Any:
        """The value of `body` as `type`; raises CodecError."""
        return self.decoder(type)(body, content_type)

    def decoder(self, type: Any) -> Decode:
        """A function that decodes to `type`, with the work that does not depend on the body done beforehand.

        Raises TypeError for a type that msgspec does not decode.
        """
        if type is bytes:
            return lambda body, _: body
        if type is str:
            return lambda body, _: _text(body)
        if type is Any:
            return _by_content_type
        json = msgspec.json.Decoder(type).decode
        takes_text = str in get_args(type)

        def decode(body: bytes, content_type: str | None) -> Any:
            if takes_text and content_type is not None and content_type.startswith("text/"):
                return _text(body)
            try:
                return json(body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise CodecError(f"the body is no {getattr(type, '__name__', type)}: {error}") from error

        return decode


def compile_decoder(codec: Codec, type: Any) -> Decode:
    """A function ``(body, content_type) -> value`` for one type, as fast as `codec` has it."""
    if isinstance(codec, JsonCodec):
        return codec.decoder(type)
    return lambda body, content_type: codec.decode(body, content_type, type)


def is_json(content_type: str | None) -> bool:
    """Whether a content type says JSON (RFC 6839: any ``+json`` too)."""
    if content_type is None:
        return False
    essence = content_type.partition(";")[0].strip().lower()
    return essence == JSON or essence.endswith("+json")


def _by_content_type(body: bytes, content_type: str | None) -> Any:
    if is_json(content_type):
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise CodecError(f"the body is no JSON: {error}") from error
    if content_type is not None and content_type.startswith("text/"):
        return _text(body)
    return body


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise CodecError(f"the body is no UTF-8 text: {error}") from error
