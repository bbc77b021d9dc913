import json
import math
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pabal.model.cloudevents import (
    STRUCTURED,
    foreign,
    from_binary,
    from_structured,
    is_structured,
    pack,
    to_binary,
    to_structured,
    unpack,
)
from pabal.model.codec import is_json
from pabal.model.errors import CodecError
from pabal.model.message import Message
from tests.unit.model.messages import (
    CHANNEL,
    TIME,
    hostile_json,
    hostile_values,
    json_values,
    message,
    messages,
    raised,
)

EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "sold", "time": "2026-01-02T03:04:05Z"}


def expected(message: Message) -> Message:
    """What comes back: the message, its type filled in."""
    return msgspec.structs.replace(message, type=message.type or message.channel)


def event(**members: object) -> bytes:
    return json.dumps({**EVENT, **members}).encode()


def headers(**attributes: object) -> dict[str, object]:
    return {f"ce-{name}": value for name, value in {**EVENT, **attributes}.items()}


@given(messages())
def test_packed_round_trip(sent: Message) -> None:
    """A message equals itself after the form of tables and streams, whatever text is in it."""
    assert unpack(sent.channel, pack(sent), sent.body) == expected(sent)


@given(messages())
def test_structured_round_trip(sent: Message) -> None:
    """A message equals itself after structured mode, its body to the byte."""
    assert from_structured(sent.channel, to_structured(sent)) == expected(sent)


@given(messages())
def test_binary_round_trip(sent: Message) -> None:
    """A message equals itself after headers that take any text, as on Kafka and RabbitMQ."""
    assert from_binary(sent.channel, to_binary(sent), sent.body) == expected(sent)


@given(messages())
def test_binary_round_trip_percent_encoded(sent: Message) -> None:
    """A message equals itself after headers of plain ASCII, as on HTTP and NATS, and all of them are that."""
    written = to_binary(sent, percent=True)
    assert all(name.isascii() and value.isascii() and value.isprintable() for name, value in written.items())
    assert from_binary(sent.channel, written, sent.body, percent=True) == expected(sent)


@given(messages())
def test_binary_round_trip_in_bytes(sent: Message) -> None:
    """Kafka's headers are bytes, and its prefix ce_."""
    written = {name: value.encode() for name, value in to_binary(sent, prefix="ce_").items()}
    assert from_binary(sent.channel, written, sent.body, prefix="ce_") == expected(sent)


@given(messages())
def test_content_type_as_a_property(sent: Message) -> None:
    """A transport with a property for the content type writes no header for it, and reads it from there."""
    written = to_binary(sent, content_type=None)
    assert "content-type" not in written
    if not is_structured(sent.content_type):
        assert from_binary(sent.channel, written, sent.body, content_type=sent.content_type) == expected(sent)


def test_attributes_have_their_names() -> None:
    """The mapping that other clients rely on."""
    sent = message(
        id="7",
        key="user-7",
        source="todo",
        content_type="application/json",
        correlation_id="5",
        causation_id="6",
        reply_to="replies.1",
        expires=TIME + timedelta(seconds=2, microseconds=5),
        attributes={"subject": "milk"},
        headers={"X-Tenant": "acme"},
    )
    attributes = {
        "specversion": "1.0",
        "id": "7",
        "source": "todo",
        "type": CHANNEL,
        "time": "2026-01-02T03:04:05.678901Z",
        "partitionkey": "user-7",
        "correlationid": "5",
        "causationid": "6",
        "replyto": "replies.1",
        "expirytime": "2026-01-02T03:04:07.678906Z",
        "subject": "milk",
    }
    beside = {"content-type": "application/json", "X-Tenant": "acme"}
    datacontenttype = {"datacontenttype": "application/json"}
    assert {f"ce-{name}": value for name, value in attributes.items()} | beside == to_binary(sent)
    assert attributes | datacontenttype | {"pabalheaders": {"X-Tenant": "acme"}} == json.loads(pack(sent))
    assert attributes | datacontenttype | {"pabalheaders": '{"X-Tenant":"acme"}'} == json.loads(to_structured(sent))


def test_times_are_utc() -> None:
    """A time of another zone is written in UTC, and read back as such."""
    local = datetime(2026, 1, 2, 5, 4, 5, 678901, timezone(timedelta(hours=2)))
    sent = message(time=local)
    assert to_binary(sent)["ce-time"] == "2026-01-02T03:04:05.678901Z"
    assert json.loads(pack(sent))["time"] == "2026-01-02T03:04:05.678901Z"
    read = from_structured(CHANNEL, event(time="2026-01-02T05:04:05.678901+02:00"))
    assert (read.time, read.time.tzinfo) == (local, UTC)


@pytest.mark.parametrize("percent", [False, True])
def test_no_source_is_written_as_one(percent: bool) -> None:
    """CloudEvents asks for a source that is not empty; a message without one comes back without one."""
    sent = message(source="")
    for written in (to_binary(sent, percent=percent)["ce-source"], json.loads(pack(sent))["source"]):
        assert written == "urn:pabal:unnamed"
    assert from_binary(CHANNEL, to_binary(sent, percent=percent), b"").source == ""
    assert unpack(CHANNEL, pack(sent), b"").source == ""


@pytest.mark.parametrize(
    ("plain", "encoded"),
    [
        ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ('a "b" 100%', "a%20%22b%22%20100%25"),
        ("a/b?c&d='~", "a/b?c&d='~"),
    ],
    ids=["unicode", "quotes", "safe"],
)
def test_percent_encoding_of_the_http_binding(plain: str, encoded: str) -> None:
    """Space, double quote, percent and all outside printable ASCII are encoded, nothing else (section 3.1.3.2)."""
    assert to_binary(message(key=plain), percent=True)["ce-partitionkey"] == encoded
    assert from_binary(CHANNEL, headers(partitionkey=encoded), b"", percent=True).key == plain


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("%41b%e2%82%ac", "Ab€"),
        ('"a \\"b\\" c"', 'a "b" c'),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("a b", "a b"),
        ('"', '"'),
    ],
    ids=["needless", "quoted", "trailing", "no hex", "space", "one quote"],
)
def test_percent_decoding_is_tolerant(written: str, read: str) -> None:
    """Needless encoding, the quoting of older versions and stray characters are read."""
    assert from_binary(CHANNEL, headers(subject=written), b"", percent=True).attributes == {"subject": read}


def test_percent_encoded_bytes_that_are_no_utf8_are_refused() -> None:
    """An overlong encoding must be rejected (section 3.1.3.2)."""
    with pytest.raises(CodecError, match="UTF-8"):
        from_binary(CHANNEL, headers(subject="%C0%A0"), b"", percent=True)


def test_headers_that_clients_change_travel_in_the_extension() -> None:
    """A user's header that is no ASCII, or would be taken for the body's content type, is kept all the same."""
    own = {"X-Plain": "a", "X-Name": "Grüße", "Content-Type": "text/evil", "X-Break": "a\r\nb"}
    written = to_binary(message(headers=own), percent=True)
    assert written["X-Plain"] == "a"
    assert {"X-Name", "Content-Type", "X-Break", "content-type"}.isdisjoint(written)
    assert own == from_binary(CHANNEL, written, b"", percent=True).headers


def test_no_header_injection_by_a_content_type() -> None:
    """A content type from elsewhere cannot add lines to a protocol of lines."""
    sent = message(content_type="text/plain\r\nX-Evil: 1")
    written = to_binary(sent, percent=True)
    assert all("\n" not in value for value in written.values())
    assert from_binary(CHANNEL, written, b"", percent=True).content_type == sent.content_type


def test_names_of_headers_count_in_any_case() -> None:
    """HTTP servers write names in lower case, others as they like."""
    written = {"CE-ID": "1", "Ce-Source": "s", "ce-Subject": "x", "Content-Type": "text/plain"}
    read = from_binary(CHANNEL, written, b"hi", arrived=TIME)
    assert (read.id, read.source, read.attributes, read.content_type) == ("1", "s", {"subject": "x"}, "text/plain")
    assert (read.type, read.time, read.headers) == (CHANNEL, TIME, {})


def test_headers_that_are_not_the_users_are_left_out() -> None:
    """What servers and pabal itself write beside is no header of the user's."""
    written = headers() | {"Nats-Msg-Id": "1", "pabal-group": "g", "ce_other": "x", "X-Own": "y"}
    assert from_binary(CHANNEL, written, b"").headers == {"X-Own": "y"}


def test_structured_mode_is_known_by_its_content_type() -> None:
    """A body that is a whole event is read as one, headers beside it kept."""
    read = from_binary(
        CHANNEL,
        {"Content-Type": f"{STRUCTURED}; charset=utf-8", "X-Own": "y"},
        event(data="hi", datacontenttype="text/plain"),
    )
    assert (read.id, read.body, read.content_type, read.headers) == ("1", b"hi", "text/plain", {"X-Own": "y"})


@pytest.mark.parametrize("value", ["application/cloudevents-batch+json", "application/json", "", None])
def test_other_content_types_are_not_structured_mode(value: str | None) -> None:
    """Batches and plain JSON are no single event."""
    assert not is_structured(value)


@given(json_values())
def test_json_bodies_are_legible_in_structured_mode(value: object) -> None:
    """A JSON body is the event's data itself, and its bytes come back with their own spacing."""
    body = json.dumps(value, indent=1, ensure_ascii=False).encode()
    written = to_structured(message(body=body, content_type="application/json"))
    assert json.loads(written)["data"] == value
    assert from_structured(CHANNEL, written).body == body


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (b'{"a": 1}', "application/json", {"data": {"a": 1}}),
        (b"null", "application/json", {"data": None}),
        (b"[1]", "application/vnd.x+json; v=1", {"data": [1]}),
        (b"[1]", "text/json", {"data": [1]}),
        (b" 1 ", "application/json", {"data_base64": "IDEg"}),
        (b"{", "application/json", {"data_base64": "ew=="}),
        (b'"\xff"', "application/json", {"data_base64": "Iv8i"}),
        (b"[" * 6000, "application/json", {"data_base64": "W1tb" * 2000}),
        (b"hi", "text/plain", {"data": "hi"}),
        (b"null", "text/plain", {"data": "null"}),
        (b"hi", "text/plain; charset=UTF-8", {"data": "hi"}),
        (b"hi", "text/plain; charset=utf-16", {"data_base64": "aGk="}),
        (b"\xff", "text/plain", {"data_base64": "/w=="}),
        (b"hi", "application/octet-stream", {"data_base64": "aGk="}),
        (b"1", None, {"data_base64": "MQ=="}),
        (b"", "application/json", {}),
        (b"", None, {}),
    ],
)
def test_data_in_structured_mode(body: bytes, content_type: str | None, data: dict[str, object]) -> None:
    """JSON stands as JSON, text as text, everything else as base64, nothing as nothing; all of it comes back."""
    sent = message(body=body, content_type=content_type)
    written = json.loads(to_structured(sent))
    assert data == {name: value for name, value in written.items() if name.startswith("data") and "type" not in name}
    read = from_structured(CHANNEL, to_structured(sent))
    assert (read.body, read.content_type) == (body, content_type)


@pytest.mark.parametrize(
    ("members", "body", "content_type"),
    [
        ({"data": {"a": 1}}, b'{"a": 1}', "application/json"),
        ({"data": "hi"}, b'"hi"', "application/json"),
        ({"data": "hi", "datacontenttype": "text/plain"}, b"hi", "text/plain"),
        ({"data": None, "datacontenttype": "text/plain"}, b"", "text/plain"),
        ({"data": {"a": 1}, "datacontenttype": "text/plain"}, b'{"a": 1}', "text/plain"),
        ({"data": "<a/>", "datacontenttype": "application/xml"}, b"<a/>", "application/xml"),
        ({"data_base64": "/w=="}, b"\xff", None),
        ({"data_base64": None}, b"", None),
        ({}, b"", None),
    ],
)
@pytest.mark.parametrize("more", [{}, {"other": 1}], ids=["known", "extended"])
def test_data_of_others(
    members: dict[str, object], body: bytes, content_type: str | None, more: dict[str, object]
) -> None:
    """Data of other clients is read as the JSON format says; without a content type it is JSON."""
    read = from_structured(CHANNEL, event(**members, **more))
    assert (read.body, read.content_type) == (body, content_type)


def test_foreign_values_become_text() -> None:
    """Numbers and booleans have one canonical text, null is no value, and bad names are dropped."""
    members = {
        "n": 7,
        "big": 2**31,
        "yes": True,
        "no": False,
        "x": 1.5,
        "none": None,
        "o": [1, {"a": "b"}],
        "Bad-Name": "x",
    }
    texts = {"n": "7", "big": "2147483648", "yes": "true", "no": "false", "x": "1.5", "o": '[1,{"a":"b"}]'}
    assert from_structured(CHANNEL, event(**members)).attributes == texts
    assert unpack(CHANNEL, event(**members), b"").attributes == texts
    assert from_binary(CHANNEL, headers(**members), b"").attributes == texts
    assert from_structured(CHANNEL, event(id=5, partitionkey=7)).key == "7"
    assert from_structured(CHANNEL, event(id=5)).id == "5"


@pytest.mark.parametrize("time", ["yesterday", "", 12, None, "2026-13-01T00:00:00Z", {"a": 1}])
def test_a_time_that_is_none_counts_as_absent(time: object) -> None:
    """A bad time costs no message: the time of arrival stands in, and nothing expires."""
    members = {"time": time, "expirytime": time}
    for read in (
        from_structured(CHANNEL, event(**members), arrived=TIME),
        unpack(CHANNEL, event(**members), b"", arrived=TIME),
        from_binary(CHANNEL, headers(**members), b"", arrived=TIME),
    ):
        assert (read.time, read.expires) == (TIME, None)


def test_an_event_without_a_time_happened_now() -> None:
    """Time is optional in CloudEvents, and every message has one."""
    before = datetime.now(UTC)
    read = from_structured(CHANNEL, b'{"id":"1"}')
    assert before <= read.time <= datetime.now(UTC)


def test_nanoseconds_are_rounded() -> None:
    """Go writes nine digits."""
    assert from_binary(CHANNEL, headers(time="2026-01-02T03:04:05.678901234Z"), b"").time == TIME


def test_a_time_of_the_brokers_type_is_a_time() -> None:
    """RabbitMQ hands a timestamp as a datetime."""
    assert from_binary(CHANNEL, headers(time=TIME), b"").time == TIME


@pytest.mark.parametrize(
    "members",
    [
        {"id": ""},
        {"id": None},
        {"id": "x" * 201},
        {"id": "a\nb"},
        {"specversion": "0.3"},
        {"pabalheaders": 5},
        {"pabalheaders": "{"},
        {"pabalheaders": "[]"},
    ],
)
def test_what_cannot_be_a_message_is_refused(members: dict[str, object]) -> None:
    """What identifies a message, or carries the user's data, is not guessed."""
    for read in (from_structured, lambda channel, written: unpack(channel, written, b"")):
        with pytest.raises(CodecError):
            read(CHANNEL, event(**members))
    with pytest.raises(CodecError):
        from_binary(CHANNEL, headers(**members), b"")


@pytest.mark.parametrize("data", ["%%%", 5, "YQ", "_-8="])
def test_base64_that_is_none_is_refused(data: object) -> None:
    """Half a body is no body."""
    with pytest.raises(CodecError):
        from_structured(CHANNEL, event(data_base64=data))


@pytest.mark.parametrize("name", ["Subject", "sub-ject", "", "ü", "id", "partitionkey", "data", "pabalheaders"])
def test_a_bad_attribute_name_is_not_written(name: str) -> None:
    """No reader would take it, or it would stand for something else."""
    sent = message(attributes={name: "x"})
    for write in (pack, to_structured, to_binary):
        with pytest.raises(CodecError, match="cannot name an attribute"):
            write(sent)


def test_text_that_is_no_utf8_is_not_written() -> None:
    """A lone surrogate ends in pabal's own error, not in one of the JSON library."""
    sent = message(key="\ud800")
    for write in (pack, to_structured, lambda sent: to_binary(sent, percent=True)):
        with pytest.raises(CodecError):
            write(sent)


@given(st.binary() | hostile_json())
def test_hostile_bytes_are_read_or_refused(written: bytes) -> None:
    """Arbitrary bytes and arbitrary JSON make a message that can be written again, or a CodecError."""
    for read in (from_structured, lambda channel, written: unpack(channel, written, b"body")):
        error = raised(lambda read=read: rewritten(read(CHANNEL, written)))  # type: ignore[misc]
        assert error is None or (isinstance(error, CodecError) and str(error))


@given(
    st.dictionaries(
        st.builds(
            str.__add__,
            st.sampled_from(["", "ce-", "CE-"]),
            st.text(max_size=5) | st.sampled_from([*EVENT, "expirytime", "pabalheaders", "data", "content-type"]),
        ),
        hostile_values(),
    ),
    st.booleans(),
)
def test_hostile_headers_are_read_or_refused(written: dict[str, object], percent: bool) -> None:
    """Headers of any text, lone surrogates too, and of any type make a message or a CodecError."""
    error = raised(lambda: rewritten(from_binary(CHANNEL, {"ce-id": "1", **written}, b"body", percent=percent)))
    assert error is None or (isinstance(error, CodecError) and str(error))


def rewritten(got: Message) -> None:
    """What was read is a sound message: it survives every form."""
    for write in (pack, to_structured, to_binary):
        assert raised(lambda write=write: write(got)) is None  # type: ignore[misc]
    assert got.time.tzinfo is not None
    assert got == unpack(got.channel, pack(got), got.body)
    assert got == from_structured(got.channel, to_structured(got))
    assert got == from_binary(got.channel, to_binary(got, percent=True), got.body, percent=True)


def test_bytes_that_are_no_utf8_are_read_apart() -> None:
    """Two different keys of raw bytes stay two."""
    one, two = (from_binary(CHANNEL, headers(partitionkey=key), b"").key for key in (b"\xfe", b"\xff"))
    assert (one, two) == ("\\xfe", "\\xff")


def test_surrogates_that_stand_for_bytes_become_text() -> None:
    """A client that decoded UTF-8 as ASCII with escapes has lost nothing."""
    garbled = "Grüße".encode().decode("ascii", "surrogateescape")
    assert from_binary(CHANNEL, headers(partitionkey=garbled), b"").key == "Grüße"


def test_floats_that_json_has_not_become_text() -> None:
    """RabbitMQ may carry a NaN."""
    assert from_binary(CHANNEL, headers(x=math.nan), b"").attributes == {"x": "null"}


def test_what_is_no_event_is_taken_as_it_is() -> None:
    """A plain client's message has its raw body, its own headers as text, and an id of its position."""
    read = foreign(CHANNEL, b"ping", id="stream-7", headers={"X-N": 7, "Nats-Msg-Id": "1"}, arrived=TIME)
    assert read == Message(id="stream-7", channel=CHANNEL, body=b"ping", type=CHANNEL, time=TIME, headers={"X-N": "7"})
    with pytest.raises(CodecError, match="no id"):
        from_binary(CHANNEL, {"X-N": "7"}, b"ping")
    with pytest.raises(CodecError):
        from_structured(CHANNEL, b"ping")


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("application/json", True),
        ("text/json", True),
        ("application/x+json ; a=b", True),
        ("application/jsonl", False),
        (None, False),
    ],
)
def test_json_by_its_media_type(content_type: str | None, said: bool) -> None:
    """The subtype json, or the suffix +json, says JSON (CloudEvents JSON format, section 3.1)."""
    assert said == is_json(content_type)
