"""Messages on NATS: what is written quickly is what is written by the book, and so it is read."""

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from pabal.model.cloudevents import from_binary
from pabal.model.errors import CodecError
from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import GroupId, Post
from pabal.transports.nats.received import Received, parse
from pabal.transports.nats.wire import (
    carried,
    due_of,
    encoded,
    headers_of,
    is_for,
    redrive_of,
    stored_headers_of,
    stored_message_of,
)
from tests.unit.model.messages import messages

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def received(raw: bytes, body: bytes = b"") -> Received:
    return Received("a.b", "", body, raw)


@given(messages())
def test_headers_are_those_of_the_binding(message: Message) -> None:
    """However they are written, they are those of CloudEvents in binary mode."""
    post = Post(message)
    try:
        wanted = headers_of(post)
    except CodecError:
        return
    assert wanted == parse(encoded(post))
    stored = parse(stored_headers_of(post))
    assert stored.pop("Nats-Msg-Id")
    assert wanted == stored


@given(messages())
def test_a_message_comes_as_it_went(message: Message) -> None:
    """Read quickly or by the book, it is the message that was written."""
    try:
        raw = stored_headers_of(Post(message))
    except CodecError:
        return
    by_the_book = from_binary(message.channel, parse(raw), message.body, percent=True, arrived=NOW)
    assert by_the_book == stored_message_of(message.channel, received(raw, message.body), lambda: ("x", NOW))


lines = st.sampled_from(
    [
        "ce-specversion: 1.0",
        "ce-specversion: 0.3",
        "ce-source: shop",
        "ce-source:",
        "ce-source: ce-id: 7",
        "ce-type: todo.new",
        "ce-type:",
        "ce-type: %C3%A9",
        "ce-id: 7",
        "ce-id: %41",
        "ce-id:",
        "CE-ID: 8",
        f"ce-id: {'x' * 201}",
        "ce-time: 2026-01-01T00:00:00Z",
        "ce-time: 2026-01-01T00:00:00+02:00",
        "ce-time: noon",
        "content-type: application/json",
        "content-type: application/cloudevents+json",
        "Nats-Msg-Id: 7",
        "mine: yours",
        "no line",
        "",
    ]
)


@given(st.lists(lines, max_size=9))
@example(["ce-specversion: 1.0", "ce-source: shop", "ce-type: todo.new", "ce-id: 7", "ce-time: noon", "Nats-Msg-Id: 7"])
@example(["ce-specversion: 1.0", "ce-source: s", "ce-type: t", "ce-id: 7", "ce-time: 2026-01-01T00:00:00Z", "mine: x"])
def test_whatever_comes_is_read_by_the_book(written: list[str]) -> None:
    """Headers of others, complete or not, mean to the quick way what they mean to the other."""
    raw = "\r\n".join(["NATS/1.0", *written, "", ""]).encode()
    got = stored_message_of("a.b", received(raw, b"{}"), lambda: ("position", NOW))
    try:
        wanted = from_binary("a.b", parse(raw), b"{}", percent=True, arrived=NOW)
    except CodecError:
        assert "position" == got.id
    else:
        assert wanted == got


@given(st.binary(max_size=60))
def test_no_bytes_cost_a_message(raw: bytes) -> None:
    """Any bytes where headers are to be: the body arrives all the same, for everybody, at once."""
    came = received(b"NATS/1.0" + raw, b"body")
    assert b"body" == stored_message_of("a.b", came, lambda: ("x", NOW)).body
    assert (0, ()) == carried(came)
    assert 0 == redrive_of(came)


def test_what_a_post_carries_is_carried() -> None:
    """Group, redrive, attempts, failures and due time arrive; the key by which it is kept once tells them apart."""
    failures = (Failure(NOW, 1, "ValueError: né", "Traceback\n", "ValueError at a.py:1 f"),)
    message = Message(id="m 1", channel="a.b", time=NOW)
    group = GroupId("a.*", "save")
    posts = [
        Post(message),
        Post(message, redrive=1),
        Post(message, redrive=2),
        Post(message, redrive=1, group=group),
        Post(message, redrive=1, group=GroupId("a.*", "audit")),
        Post(message, attempt=3, group=group, redrive=1, errors=failures, due=12.5),
    ]
    came = [received(stored_headers_of(post)) for post in posts]
    assert len(posts) == len({each.headers["Nats-Msg-Id"] for each in came})
    assert "m%201" == came[0].headers["Nats-Msg-Id"]
    assert [0, 1, 2, 1, 1, 1] == [redrive_of(each) for each in came]
    assert (3, failures) == carried(came[-1])
    assert [0.0, 12.5] == [due_of(each) for each in (came[0], came[-1])]
    assert [True, False, True] == [is_for(came[3], each) for each in (group, None, GroupId("a.*", "save"))]
    assert not is_for(came[3], GroupId("a.b", "save"))
    assert is_for(came[0], None)
