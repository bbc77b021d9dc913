from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pabal.model.codec import BINARY, JSON, TEXT, Codec, JsonCodec, compile_decoder, is_text, json_encoder
from pabal.model.errors import CodecError
from tests.unit.model.messages import json_values, raised

T = TypeVar("T")


class Item(msgspec.Struct):
    item: str
    due: datetime | None = None


@dataclass
class Point:
    x: int
    y: int = 0


class Model(pydantic.BaseModel):
    item: str
    due: datetime | None = None
    count: int = pydantic.Field(default=1, ge=1)


class Box(msgspec.Struct, Generic[T]):
    content: T
    more: "list[Box[T]]" = []


class Colour(StrEnum):
    RED = "red"


class Size(Enum):
    BIG = "big"


class Unknown:
    pass


class Refusing(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("below zero")


class Shouting:
    """A codec of a user's own."""

    def encode(self, value: object, /) -> tuple[bytes, str]:
        return str(value).upper().encode(), "text/loud"

    def decode(self, body: bytes, content_type: str | None, type: Any, /) -> Any:
        return type(body.decode() + (content_type or ""))


codec = JsonCodec()


@pytest.mark.parametrize(
    ("value", "body", "content_type"),
    [
        ("hi €", b"hi \xe2\x82\xac", TEXT),
        (b"\xff", b"\xff", BINARY),
        (bytearray(b"a"), b"a", BINARY),
        (memoryview(b"a"), b"a", BINARY),
        (None, b"null", JSON),
        (5, b"5", JSON),
        ({"a": [1]}, b'{"a":[1]}', JSON),
        (Item("milk"), b'{"item":"milk","due":null}', JSON),
        (Point(1), b'{"x":1,"y":0}', JSON),
        (
            Model(item="milk", due=datetime(2026, 1, 2, tzinfo=UTC)),
            b'{"item":"milk","due":"2026-01-02T00:00:00Z","count":1}',
            JSON,
        ),
        ([Model(item="milk")], b'[{"item":"milk","due":null,"count":1}]', JSON),
    ],
    ids=repr,
)
def test_values_become_bodies(value: object, body: bytes, content_type: str) -> None:
    """Text and bytes pass as they are, everything else is JSON, and the content type says which."""
    assert codec.encode(value) == (body, content_type)


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    "value",
    [Unknown(), [Unknown()], object(), "\ud800", {"a": "\ud800"}, {(1, 2): 3}, circle(), lambda: 0],
    ids=["class", "nested", "object", "surrogate", "nested surrogate", "key", "circle", "function"],
)
def test_values_that_cannot_be_sent(value: object) -> None:
    """The error is pabal's own and names the type."""
    with pytest.raises(CodecError, match=type(value).__name__):
        codec.encode(value)


@pytest.mark.parametrize("value", [Item("milk"), {"a": 1}, [1], 7, None, Model(item="milk")], ids=repr)
def test_values_of_one_type_are_encoded_alike(value: object) -> None:
    """What a batch encodes its values by makes the body that each would have by itself."""
    encode = json_encoder(codec, type(value))
    assert encode is not None
    assert (encode(value), JSON) == codec.encode(value)


class Louder(JsonCodec):
    def encode(self, value: object, /) -> tuple[bytes, str]:
        return str(value).upper().encode(), "text/plain"


@pytest.mark.parametrize(
    ("codec", "value"),
    [(codec, "text"), (codec, b"bytes"), (codec, bytearray()), (Louder(), Item("milk"))],
    ids=["text", "bytes", "bytearray", "another codec"],
)
def test_what_is_no_json_is_left_to_the_codec(codec: JsonCodec, value: object) -> None:
    """Text, bytes and what a codec of one's own does are never taken for JSON."""
    assert json_encoder(codec, type(value)) is None


@pytest.mark.parametrize(
    ("body", "content_type", "type", "value"),
    [
        (b"\xff", JSON, bytes, b"\xff"),
        (b"hi", None, str, "hi"),
        (b'"hi"', JSON, str, '"hi"'),
        (b"5", None, int, 5),
        (b'{"item":"milk"}', None, Item, Item("milk")),
        (b'{"item":"milk"}', "text/plain", Item, Item("milk")),
        (b'{"x":1}', None, Point, Point(1)),
        (b'[{"x":1}]', None, list[Point], [Point(1)]),
        (
            b'{"item":"milk","due":"2026-01-02T00:00:00Z"}',
            None,
            Model,
            Model(item="milk", due=datetime(2026, 1, 2, tzinfo=UTC)),
        ),
        (b'[{"item":"milk"}]', None, list[Model], [Model(item="milk")]),
        (b"null", None, Model | None, None),
        (b'{"content":{"item":"milk"}}', None, Box[Model], Box(Model(item="milk"))),
        (b"hi", "text/plain", str | None, "hi"),
        (b"hi", "TEXT/plain; charset=utf-8", str | None, "hi"),
        (b'"hi"', JSON, str | None, "hi"),
        (b'"hi"', "text/json", str | None, "hi"),
        (b"null", JSON, str | None, None),
        (b"null", "text/plain", str | None, "null"),
        (b"5", "text/plain", str | int, "5"),
        (b"red", "text/plain", Colour, Colour.RED),
        (b'"red"', JSON, Colour, Colour.RED),
        (b"big", "text/plain", Size | None, Size.BIG),
        (b"up", "text/plain", Literal["up", "down"], "up"),
        (b"long", "text/plain", Annotated[str, msgspec.Meta(min_length=4, title="A word")], "long"),
        (b'["hi"]', "text/plain", list[str], ["hi"]),
        (b"null", JSON, None, None),
        (b'{"a":1}', JSON, Any, {"a": 1}),
        (b'{"a":1}', "application/vnd.x+json", Any, {"a": 1}),
        (b'{"a":1}', JSON, object, {"a": 1}),
        (b"5", "text/plain", Any, "5"),
        (b"5", "Text/Plain", Any, "5"),
        (b"5", BINARY, Any, b"5"),
        (b"5", None, Any, b"5"),
    ],
)
def test_bodies_become_values(body: bytes, content_type: str | None, type: Any, value: object) -> None:
    """The type asked for decides; where it asks for anything, or for text or nothing, the content type does."""
    assert codec.decode(body, content_type, type) == value
    assert compile_decoder(codec, type)(body, content_type) == value


@pytest.mark.parametrize(
    ("body", "content_type", "type"),
    [
        (b"\xff", None, str),
        (b"\xff", "text/plain", str | None),
        (b"\xff", "text/plain", Any),
        (b"hi", "text/plain", list[str]),
        (b"hi", "text/plain", dict[str, str]),
        (b"blue", "text/plain", Colour),
        (b"left", "text/plain", Literal["up", "down"]),
        (b"hi", "text/plain", Annotated[str, msgspec.Meta(min_length=4)]),
        (b"{", JSON, Any),
        (b'"\xff"', JSON, Any),
        (b"[" * 100_000, JSON, Any),
        (b"[" * 100_000, None, list[Any]),
        (b'["\xff"]', None, list[str]),
        (b"", None, Item),
        (b"{}", None, Item),
        (b"five", None, int),
        (b'{"x":-1}', None, Refusing),
        (b'{"item":"milk","count":0}', None, Model),
        (b"{}", None, list[Model]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bodies_that_are_not_what_was_asked_for(body: bytes, content_type: str | None, type: Any) -> None:
    """Whatever is wrong with a body, the error is a CodecError: the message ends as undecodable, not the worker."""
    with pytest.raises(CodecError, match="the body is no "):
        codec.decode(body, content_type, type)


def test_what_a_model_lacks_is_said_in_one_line() -> None:
    """The error of a message is one line; it names each field that is wrong, as Pydantic does."""
    error = raised(lambda: codec.decode(b'{"count":0}', JSON, Model))
    assert "the body is no Model: item: Field required; count: Input should be greater than or equal to 1" == str(error)


@pytest.mark.parametrize("value", [Colour.RED, Size.BIG, "up", "long"])
def test_text_comes_back_as_its_type(value: object) -> None:
    """What a channel's type allows is sent and read as that type, text with a meaning too."""
    kind = type(value) if isinstance(value, Enum) else Literal["up", "long"]
    assert value == codec.decode(*codec.encode(value), kind)


@given(
    st.binary(), st.none() | st.text(), st.sampled_from([bytes, str, Any, int, Item, Model, list[Point], str | None])
)
def test_any_body_is_a_value_or_a_codec_error(body: bytes, content_type: str | None, type: Any) -> None:
    """Nothing else comes out, whatever the bytes and the content type."""
    error = raised(lambda: codec.decode(body, content_type, type))
    assert error is None or (isinstance(error, CodecError) and str(error))


@given(json_values() | st.binary())
def test_what_is_sent_comes_back(value: object) -> None:
    """A handler without an annotation gets what was published: JSON values, text and bytes."""
    body, content_type = codec.encode(value)
    assert codec.decode(body, content_type, Any) == value


@pytest.mark.parametrize("type", [Unknown, list[Unknown], Box[Unknown], Item | Unknown, dict[str, Unknown | None]])
def test_types_that_cannot_be_decoded_are_refused_at_once(type: Any) -> None:
    """A handler with such an annotation would reject every message; it is refused when it is registered."""
    with pytest.raises(TypeError, match="Unknown"):
        compile_decoder(codec, type)


def test_unions_that_json_cannot_tell_apart_are_refused_at_once() -> None:
    """As msgspec has it."""
    with pytest.raises(TypeError, match="not supported"):
        compile_decoder(codec, str | bytes)


def test_a_codec_of_ones_own() -> None:
    """One object with encode and decode is a codec."""
    own: Codec = Shouting()
    assert own.encode("a") == (b"A", "text/loud")
    assert compile_decoder(own, str)(b"A", "text/loud") == "Atext/loud"


@pytest.mark.parametrize(
    ("content_type", "said"),
    [("text/plain", True), ("TEXT/html; x=y", True), ("text/json", False), ("application/json", False), (None, False)],
)
def test_text_by_its_media_type(content_type: str | None, said: bool) -> None:
    """Text is what is no JSON."""
    assert said == is_text(content_type)
