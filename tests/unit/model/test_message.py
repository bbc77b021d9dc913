import subprocess
import sys
import time
import unicodedata
import uuid
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pabal.model.errors import ConfigurationError
from pabal.model.message import check_headers, is_reserved, new_id, survives
from pabal.model.names import check_id
from tests.unit.model.messages import CHANNEL, message, raised


def test_a_message_is_immutable() -> None:
    """Handlers of several groups share one message in memory."""
    with pytest.raises(AttributeError):
        message().body = b"other"  # type: ignore[misc]


def test_messages_share_no_mutable_default() -> None:
    """A header put into one message's mapping is in no other's."""
    one, two = message(), message()
    assert one.headers is not two.headers
    assert one.attributes is not two.attributes


def test_messages_are_values() -> None:
    """Equal in all fields is equal, in one other is not."""
    assert message(key="a") == message(key="a") != message(key="b")
    assert msgspec.structs.asdict(message())["channel"] == CHANNEL


def test_ids_are_uuids_of_version_7() -> None:
    """RFC 9562, section 5.7: milliseconds first, then version and variant."""
    before = time.time_ns() // 1_000_000
    text = new_id()
    after = time.time_ns() // 1_000_000
    parsed = uuid.UUID(text)
    assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)
    assert before <= parsed.int >> 80 <= after
    assert text == check_id(text)


def test_ids_are_unique() -> None:
    """Many in one millisecond are all different."""
    assert len({new_id() for _ in range(50_000)}) == 50_000


def test_ids_rise() -> None:
    """RFC 9562, section 6.2: those of one millisecond too, so that an index by id is filled at its end."""
    ids = [new_id() for _ in range(50_000)]
    assert ids == sorted(ids)


def test_ids_of_threads_differ_and_rise() -> None:
    """However many threads make them, each sees its own rise, and none sees another's."""

    def make(_: int) -> list[str]:
        return [new_id() for _ in range(20_000)]

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(make, range(4)))
    assert all(ids == sorted(ids) for ids in made)
    assert len(set().union(*made)) == 80_000


def test_ids_use_all_random_bits() -> None:
    """Of each millisecond's first id every random bit is now 0 and now 1, but for one that leaves room to count."""
    firsts: dict[int, int] = {}
    while len(firsts) < 80:
        value = uuid.UUID(new_id()).int
        firsts.setdefault(value >> 80, value)
    ever, always = 0, (1 << 128) - 1
    for value in firsts.values():
        ever, always = ever | value, always & value
    random = (0xFFF << 64) | (((1 << 62) - 1) ^ (1 << 47))
    assert (ever & random, always & random) == (random, 0)
    assert (always >> 76 & 0xF, ever >> 76 & 0xF) == (7, 7)
    assert (always >> 62 & 3, ever >> 62 & 3) == (2, 2)


FORKED = """
import os
from pabal.model.message import new_id
for _ in range(2):
    child = os.fork()
    if not child:
        os.write(1, b"".join(new_id()[14:].encode() + b"\\n" for _ in range(20)))
        os._exit(0)
    os.waitpid(child, 0)
print(*(new_id()[14:] for _ in range(20)), sep="\\n")
"""


def test_ids_differ_after_a_fork() -> None:
    """Worker processes forked from one parent never make each other's ids."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    random_parts = done.stdout.split()
    assert len(random_parts) == len(set(random_parts)) == 60


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9!#$&'*+.^_`|~-]{1,50}", fullmatch=True), st.text()))
def test_headers_are_taken_as_they_are_or_refused(headers: dict[str, str]) -> None:
    """A header is taken when its name is the user's and its value has no control characters or outer spaces."""
    fine = all(
        not name.lower().startswith(("ce-", "ce_", "pabal-", "nats-")) and value == value.strip() and no_controls(value)
        for name, value in headers.items()
    )
    assert fine == (raised(lambda: check_headers(headers)) is None)


def no_controls(value: str) -> bool:
    return all(unicodedata.category(c) not in {"Cc", "Cs", "Zl", "Zp"} for c in value)


@pytest.mark.parametrize("name", ["ce-id", "CE-Id", "ce_id", "Ce_x", "pabal-group", "PABAL-x", "Nats-Msg-Id", "nats-x"])
def test_reserved_names_are_refused(name: str) -> None:
    """Names that pabal and its servers use themselves are not the user's, in any case."""
    assert is_reserved(name)
    with pytest.raises(ConfigurationError, match="reserved"):
        check_headers({name: "x"})


@pytest.mark.parametrize("name", ["cent", "certain-id", "pabal", "natsy", "X-ce-id"])
def test_names_that_only_resemble_are_taken(name: str) -> None:
    """A prefix is reserved, not a word."""
    assert not is_reserved(name)
    assert check_headers({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ü", "a\n", "a\r\nb", "(a)", "a" * 201, None, 5])
def test_bad_header_names_are_refused(name: object) -> None:
    """No client would carry them."""
    with pytest.raises(ConfigurationError, match="header"):
        check_headers({name: "x"})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "value",
    [
        " a",
        "a ",
        "\ta",
        "a\nb",
        "a\r\nInjected: 1",
        "a\0",
        "\x7f",
        "\x85",
        "\x9f",
        "\u2028",
        "a\u2028b",
        "\u00a0a",
        "\ud800",
        5,
        None,
        b"a",
    ],
    ids=repr,
)
def test_values_that_clients_change_are_refused(value: object) -> None:
    """Control characters, line breaks of any script, outer spaces and other types never leave the publisher."""
    with pytest.raises(ConfigurationError, match="header 'X'"):
        check_headers({"X": value})  # type: ignore[dict-item]


@pytest.mark.parametrize("value", ["", "a b", "Grüße", "😀", "a\u00a0b", "a\u200bb", '"%'])
def test_other_text_is_a_value(value: str) -> None:
    """Any other text is the user's own business."""
    assert check_headers({"X": value}) == {"X": value}


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("X-A", "b", True), ("Content-Type", "b", False), ("ce-a", "b", False), ("X-A", " b", False), ("a b", "b", False)],
)
def test_what_survives_every_client(name: str, value: str, kept: bool) -> None:
    """What check_headers takes, but for the body's content type, travels under its own name."""
    assert kept == survives(name, value)
