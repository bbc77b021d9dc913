"""Messages for tests, plain ones and any that can be."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from pabal.model.errors import PabalError
from pabal.model.event import UNNAMED
from pabal.model.message import Message

CHANNEL = "events.todo.newitem"
TIME = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)

_MAPPED = "specversion id source type time datacontenttype correlationid causationid partitionkey expirytime replyto"
_CONTENT_TYPES = [
    None,
    "application/json",
    "application/problem+json; charset=utf-8",
    "text/plain",
    "text/html; charset=latin-1",
    "application/octet-stream",
    "application/cloudevents+json",
]


def raised(call: Callable[[], object]) -> PabalError | None:
    """The error of pabal's that a call ends in; any other goes on."""
    try:
        call()
    except PabalError as error:
        return error
    return None


def message(**fields: Any) -> Message:
    """A message with these fields, its type the channel."""
    return Message(**{"id": "1", "channel": CHANNEL, "type": CHANNEL, "time": TIME, **fields})


def texts(**size: int) -> st.SearchStrategy[str]:
    """Any text that UTF-8 can hold, with much of what protocols trip over."""
    return st.text(st.characters(codec="utf-8") | st.sampled_from(" %\"'\\\r\n\0\x7f\x85é€😀"), **size)


def messages() -> st.SearchStrategy[Message]:
    """Any message, with more in it than `publish` would let through: others write such ones."""
    zones = st.just(UTC) | st.integers(-720, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    times = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones)  # noqa: DTZ001 - zones follow
    json_bodies = hostile_json().map(lambda body: body.strip())
    return st.builds(
        Message,
        id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200).filter(str.isprintable),
        channel=st.just(CHANNEL),
        body=st.binary() | texts().map(str.encode) | json_bodies,
        key=st.none() | texts(),
        headers=st.dictionaries(texts(min_size=1) | st.sampled_from(["X-A", "x-a", "content-type", "ce-id"]), texts()),
        content_type=st.sampled_from(_CONTENT_TYPES) | texts(),
        type=st.sampled_from(["", CHANNEL]) | texts(min_size=1),
        source=texts().filter(lambda source: source != UNNAMED),
        time=times,
        correlation_id=st.none() | texts(),
        causation_id=st.none() | texts(),
        reply_to=st.none() | texts(),
        expires=st.none() | times,
        attributes=st.dictionaries(
            st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
                lambda name: name not in {*_MAPPED.split(), "data", "pabalheaders"}
            )
            | st.sampled_from(["traceparent", "tracestate", "subject", "dataschema", "pabalerror"]),
            texts(),
            max_size=3,
        ),
    )


def hostile_json() -> st.SearchStrategy[bytes]:
    """JSON that resembles an event, with values of all types in all places."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("1.0")
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5
    )
    names = st.sampled_from([*_MAPPED.split(), "data", "data_base64", "pabalheaders", "traceparent"]) | st.text()
    objects = st.dictionaries(names, values, max_size=8)
    likely = objects.map(
        lambda members: {"id": "1", "source": "s", "type": "t", "time": "2026-01-02T03:04:05Z", **members}
    )
    return (objects | likely | values).map(lambda value: json.dumps(value).encode())


def json_values() -> st.SearchStrategy[object]:
    """What JSON can hold, and msgspec keeps."""
    text = st.text(st.characters(codec="utf-8"))
    numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | text,
        lambda inner: st.lists(inner) | st.dictionaries(text, inner),
        max_leaves=10,
    )


def hostile_values() -> st.SearchStrategy[object]:
    """What clients hand as a header's value."""
    anything = st.text() | st.binary() | st.none() | st.booleans() | st.integers() | st.floats() | st.datetimes()
    odd = st.sampled_from(["%", "%C0%A0", '"\\', "\ud800", "1.0", object(), {1: {2}}, [b"\xff"], [[]]])
    return anything | odd | st.lists(anything, max_size=2)
