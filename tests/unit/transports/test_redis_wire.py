"""Messages as Redis carries them: there and back again, and what others write."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import Delivery, GroupId, Post
from pabal.transports.redis.names import Names
from pabal.transports.redis.streams.entries import Entry, Token, delivery, fields
from pabal.transports.redis.streams.keys import StreamKeys
from pabal.transports.redis.wire import identity, needs_no_claim, payload, taken

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def message(id: str = "one", body: bytes = b"{}") -> Message:
    return Message(id=id, channel="a.b", body=body, type="a.b", time=NOW)


def entry(words: list[bytes], *, which: int = 1, id: bytes = b"1767323045000-7", times: int = 1) -> Delivery:
    return delivery("a.b", Entry(Token(which, id, times), words))


ids = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=50)


@given(ids, st.binary(max_size=50), st.integers(0, 9), st.booleans())
def test_members_agree_on_what_they_claim(id: str, body: bytes, redrive: int, is_for_one: bool) -> None:
    """A message's identity is its id and its redrive, whatever its body looks like and whoever it is for."""
    group = GroupId("a.*", "g") if is_for_one else None
    written = payload(Post(message(id, body), group=group, redrive=redrive))
    read, number = taken("a.b", written, arrived=NOW)
    assert (message(id, body), redrive) == (read, number)
    again = payload(Post(message(id, b"another"), redrive=redrive))
    assert identity(again) == identity(written)
    assert identity(payload(Post(message(id, body), redrive=redrive + 1))) != identity(written)
    assert not needs_no_claim(written)


@given(ids)
def test_a_tab_behind_it_changes_nothing(id: str) -> None:
    """What tells members that nobody needs to claim is no part of the message."""
    written = payload(Post(message(id)))
    assert needs_no_claim(written + b"\t")
    assert (message(id), 0) == taken("a.b", written + b"\t", arrived=NOW)


@pytest.mark.parametrize(
    "text", [b"ping", b"", b"{}", b'{"id": ""}', b"\xff\xfe", b"[1]", b'{"specversion":"1.0","id":"x']
)
def test_what_is_no_event_has_no_identity(text: bytes) -> None:
    """It is taken as it is, with an id of its own each time."""
    assert b"" == identity(text)
    one, other = (taken("a.b", text, arrived=NOW)[0] for _ in range(2))
    assert (text, None, NOW) == (one.body, one.content_type, one.time)
    assert one.id != other.id


def test_an_event_of_another_writer_has_its_id() -> None:
    """However its JSON is laid out."""
    event = json.dumps({"type": "t", "source": "s", "id": "other", "specversion": "1.0"}, indent=1).encode()
    assert b"other" == identity(event)


@given(st.integers(0, 100), st.integers(0, 5), st.integers(1, 9), st.lists(st.text(max_size=5), max_size=3))
def test_an_entry_carries_its_history(attempt: int, redrive: int, times: int, texts: list[str]) -> None:
    """Attempts, redrives and failures of a post come with its entry."""
    errors = tuple(Failure(NOW, number, text) for number, text in enumerate(texts))
    post = Post(message(), attempt=attempt, redrive=redrive, errors=errors)
    words = [word if isinstance(word, bytes) else str(word).encode() for word in fields(post)]
    got = entry(words, times=times)
    assert (message(), attempt + times, errors, redrive) == (got.message, got.attempt, got.errors, got.redrive)


def test_entries_of_others() -> None:
    """A field `data` alone is the body; other fields are a JSON object; the id is the entry's position."""
    plain = entry([b"data", b"ping"]).message
    assert (b"ping", None, "1767323045000-7@a.b") == (plain.body, plain.content_type, plain.id)
    assert datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) == plain.time
    named = entry([b"item", b"milk", b"\xff", b"2"]).message
    assert {"item": "milk", "\\xff": "2"} == json.loads(named.body)
    assert "application/json" == named.content_type


def test_the_position_is_kept_where_an_entry_goes() -> None:
    """A copy of an entry of somebody else's, made for a retry, has the id that it had at first."""
    copied = entry([b"data", b"ping", b"pabal", b"2 0 1700000000000-3"], which=2)
    assert ("1700000000000-3@a.b", 3) == (copied.message.id, copied.attempt)
    long = delivery("c" * 200, Entry(Token(1, b"1-1", 1), [b"data", b""]))
    assert len(long.message.id) <= 200


_ids = st.builds("{}-{}".format, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
_states = st.builds("{} {} {}".format, st.integers(-5, 10**20), st.integers(-5, 10**20), _ids | st.text(max_size=9))
_names = st.sampled_from([b"ce", b"data", b"pabal", b"pabal-errors"]) | st.binary(max_size=5)
_values = st.binary(max_size=30) | _states.map(str.encode) | st.sampled_from([b"{}", b"[]", b"null", b'{"id":1}'])


@given(_ids, st.lists(st.tuples(_names, _values), max_size=5))
def test_any_entry_is_a_message(id: str, named: list[tuple[bytes, bytes]]) -> None:
    """Whatever others wrote, under whatever id of a time that no calendar has, is a delivery with an id and a time."""
    got = delivery("a", Entry(Token(1, id.encode(), 1), [word for pair in named for word in pair]))
    assert 0 < len(got.message.id) <= 200
    assert got.message.time.astimezone(UTC) == got.message.time


@given(st.binary(max_size=60) | _values)
def test_any_payload_is_a_message(payload: bytes) -> None:
    """Whatever others published has a message, and members agree on how to claim it."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert taken("a", payload, arrived=now)[0].id
    assert identity(payload) == identity(payload)


@pytest.mark.parametrize("state", [b"", b"x", b"1 2", b"-1 0 -", b"99999999999 0 -", b"\xff 0 -", "٣ 0 -".encode()])
def test_a_broken_state_counts_as_none(state: bytes) -> None:
    """What somebody else has written there costs no message."""
    got = entry([b"data", b"x", b"pabal", state, b"pabal-errors", b"nonsense"])
    assert (1, 0, ()) == (got.attempt, got.redrive, got.errors)


def test_all_of_a_channel_is_in_one_slot() -> None:
    """Scripts may touch nothing else, where hash slots matter."""
    keys = StreamKeys("shop:", "a.b")
    all_keys = [keys.stream, keys.later, keys.waiting, keys.listeners]
    all_keys += [keys.side("g"), keys.later_of("g"), keys.waiting_of("g")]
    assert 7 == len(set(all_keys))
    assert 1 == len({key_slot(key.encode()) for key in all_keys})


@pytest.mark.parametrize(
    ("name", "source", "channel"),
    [
        (b"shop:a.b", "a.*", "a.b"),
        (b"shop:a.b.c", "a.*", None),
        (b"shop:a.b.c", "a.>", "a.b.c"),
        (b"shop:a b", ">", None),
        (b"shop:\xff", ">", None),
    ],
)
def test_a_pattern_takes_what_it_means(name: bytes, source: str, channel: str | None) -> None:
    """Of all that Redis hands over for its own pattern, which is more."""
    assert channel == Names("shop:").channel_of(name, source)
