"""Values to bodies and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Protocol, TypeAlias

import msgspec
from msgspec import inspect

from pabal.model.errors import CodecError, ConfigurationError

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


_AS_THEY_ARE = (str, bytes, bytearray, memoryview)

UNSENDABLE = (TypeError, ValueError, RecursionError, msgspec.MsgspecError)
"""What msgspec raises for a value that JSON cannot hold."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON it expects."""


class JsonCodec:
    """JSON by msgspec, Pydantic models by themselves; `bytes` and `str` pass as they are."""

    def __init__(self) -> None:
        self.json = msgspec.json.Encoder(enc_hook=_encode_model).encode

    def encode(self, value: object, /) -> tuple[bytes, str]:
        """JSON of `value`; bytes and text as they are. Raises CodecError for a value that JSON cannot hold."""
        try:
            if not isinstance(value, _AS_THEY_ARE):
                return self.json(value), JSON
            if isinstance(value, str):
                return value.encode(), TEXT
            return bytes(value), BINARY
        except UNSENDABLE as error:
            raise unsendable(value, error) from error

    def decode(self, body: bytes, content_type: str | None, type: Any, /) -> Any:
        """The value of `body` as `type`; raises CodecError."""
        return self.decoder(type)(body, content_type)

    def decoder(self, type: Any) -> Decode:
        """A function that decodes to `type`, with the work that does not depend on the body done beforehand.

        Raises TypeError for a type that is neither msgspec's nor a Pydantic model.
        """
        if type is bytes:
            return lambda body, _: body
        if type is str:
            return lambda body, _: _text(body)
        if type is Any or type is object:
            return _by_content_type
        for unknown in _unknown_classes(type):
            raise TypeError(f"neither msgspec nor Pydantic decodes {unknown.__name__}; use a Struct or a dataclass")
        json = msgspec.json.Decoder(type, dec_hook=_decode_model).decode
        takes_text = _takes_text(inspect.type_info(type))

        def decode(body: bytes, content_type: str | None) -> Any:
            try:
                if takes_text and is_text(content_type):
                    return msgspec.convert(_text(body), type)
                return json(body)
            except _UNREADABLE as error:
                raise CodecError(f"the body is no {getattr(type, '__name__', type)}: {error}") from error

        return decode


def check_codec(codec: object) -> None:
    """Raise ConfigurationError for an object that is no codec."""
    if isinstance(codec, type) or not all(callable(getattr(codec, name, None)) for name in ("encode", "decode")):
        raise ConfigurationError("a codec has two methods, encode and decode; give an object that has them")


def json_encoder(codec: Codec, values: type[Any]) -> Callable[[Any], bytes] | None:
    """What makes JSON of all values of one type, and raises one of UNSENDABLE; None: `codec` decides by the value."""
    if type(codec) is not JsonCodec or issubclass(values, _AS_THEY_ARE):
        return None
    return codec.json


def unsendable(value: object, error: Exception) -> CodecError:
    """What is raised for a value that cannot be sent."""
    return CodecError(f"a {type(value).__name__} cannot be sent: {error}")


def compile_decoder(codec: Codec, type: Any) -> Decode:
    """A function ``(body, content_type) -> value`` for one type, as fast as `codec` has it."""
    if isinstance(codec, JsonCodec):
        return codec.decoder(type)
    return lambda body, content_type: codec.decode(body, content_type, type)


def is_json(content_type: str | None) -> bool:
    """Whether a content type says JSON: the subtype ``json``, or any with ``+json`` (RFC 6839)."""
    if content_type is None:
        return False
    essence = content_type.partition(";")[0].strip().lower()
    return essence.endswith(("/json", "+json"))


def is_text(content_type: str | None) -> bool:
    """Whether a content type says text that is no JSON."""
    return content_type is not None and content_type.lower().startswith("text/") and not is_json(content_type)


def _by_content_type(body: bytes, content_type: str | None) -> Any:
    if is_json(content_type):
        try:
            return msgspec.json.decode(body)
        except _UNREADABLE as error:
            raise CodecError(f"the body is no JSON: {error}") from error
    if is_text(content_type):
        return _text(body)
    return body


def _is_model(cls: Any) -> bool:
    return hasattr(cls, "model_validate_json") and hasattr(cls, "model_dump_json")


def _encode_model(value: Any) -> Any:
    if _is_model(type(value)):
        return msgspec.Raw(value.model_dump_json(by_alias=True).encode())  # as it is validated
    raise TypeError(f"a {type(value).__name__} is no Struct, dataclass, Pydantic model or plain value")


def _decode_model(cls: Any, value: Any) -> Any:
    try:
        return cls.model_validate_json(msgspec.json.encode(value))
    except ValueError as error:
        # Pydantic's text has many lines; one says what is wrong.
        found = error.errors(include_url=False) if hasattr(error, "errors") else ()
        text = "; ".join(": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in found)
        raise ValueError(text or str(error)) from error


def _takes_text(info: inspect.Type) -> bool:
    """Whether text itself can be a value of a type, as `str | None`, a Literal of strings or a StrEnum."""
    if isinstance(info, inspect.Metadata):
        return _takes_text(info.type)
    if isinstance(info, inspect.UnionType):
        return any(map(_takes_text, info.types))
    if isinstance(info, inspect.LiteralType):
        return any(isinstance(value, str) for value in info.values)
    return isinstance(info, inspect.StrType) or (isinstance(info, inspect.EnumType) and _is_text_enum(info.cls))


def _is_text_enum(cls: type[Enum]) -> bool:
    return any(isinstance(member.value, str) for member in cls)


def _unknown_classes(type: Any) -> Iterator[type[Any]]:
    """The classes in a type that neither msgspec nor Pydantic knows."""
    seen: set[int] = set()
    waiting: list[Any] = [inspect.type_info(type)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, tuple | list):
            waiting.extend(part)
        elif isinstance(part, inspect.Type | inspect.Field) and id(part) not in seen:
            seen.add(id(part))
            if isinstance(part, inspect.CustomType) and not _is_model(part.cls):
                yield part.cls
            waiting.extend(getattr(part, name) for name in part.__struct_fields__)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise CodecError(f"the body is no UTF-8 text: {error}") from error
