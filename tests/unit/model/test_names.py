import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pabal.model.errors import ConfigurationError
from pabal.model.names import check_channel, check_group, check_id, check_source, is_pattern, matcher
from tests.unit.model.messages import raised

LETTERS = string.ascii_letters + string.digits + "_-"
TOKENS = st.text(LETTERS, min_size=1, max_size=6)
CHANNELS = st.lists(TOKENS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.builds(
    lambda tokens, more: ".".join([*tokens, *more]),
    st.lists(TOKENS | st.just("*"), max_size=4),
    st.sampled_from([["*"], [">"]]),
)
CHECKS = [check_channel, check_source, check_group, check_id]


def valid_channel(name: str) -> bool:
    """The rule of the design, told another way."""
    return len(name) <= 200 and all(token and set(token) <= set(LETTERS) for token in name.split("."))


def valid_source(name: str) -> bool:
    tokens = name.split(".")
    plain = [token for token in tokens if token != "*"]
    if plain and tokens[-1] == ">":
        plain.pop()
    return len(name) <= 200 and all(token and set(token) <= set(LETTERS) for token in plain)


def takes(source: str, channel: str) -> bool:
    """What a pattern means, token by token."""
    wanted, given = source.split("."), channel.split(".")
    if wanted[-1] == ">":
        return len(given) >= len(wanted) and takes_tokens(wanted[:-1], given)
    return len(given) == len(wanted) and takes_tokens(wanted, given)


def takes_tokens(wanted: list[str], given: list[str]) -> bool:
    return all(want in {"*", token} for want, token in zip(wanted, given, strict=False))


@given(CHANNELS)
def test_channels_are_taken(name: str) -> None:
    """Dot-separated tokens of letters, digits, _ and - are a channel and a source."""
    assert name == check_channel(name) == check_source(name)
    assert not is_pattern(name)


@given(PATTERNS)
def test_patterns_are_for_subscribing(name: str) -> None:
    """A pattern is a source, and the error of publishing to it says what it is."""
    assert name == check_source(name)
    assert is_pattern(name)
    with pytest.raises(ConfigurationError, match="is a pattern"):
        check_channel(name)


@given(st.text(LETTERS + ".*>\n é/", max_size=12) | st.text())
def test_names_are_checked_to_the_letter(name: str) -> None:
    """Whatever is typed is taken or refused as the rule says, and only with a ConfigurationError."""
    assert valid_channel(name) == accepted(check_channel, name)
    assert valid_source(name) == accepted(check_source, name)
    assert accepted(check_group, name) == (1 <= len(name) <= 64 and set(name) <= set(LETTERS + "."))


@pytest.mark.parametrize(
    "name", ["a\n", "a.", ".a", "a..b", "", "a.>.b", "a*", ">a", "a b", "é", "a" * 201, "a." * 100]
)
def test_bad_sources(name: str) -> None:
    """Names that nearly are one, a trailing newline among them, are refused with the rule."""
    with pytest.raises(ConfigurationError, match="dot-separated tokens"):
        check_source(name)
    with pytest.raises(ConfigurationError, match="dot-separated tokens"):
        check_channel(name)


@pytest.mark.parametrize(
    ("check", "most"), [(check_channel, 200), (check_source, 200), (check_group, 64), (check_id, 200)]
)
def test_lengths(check: Callable[[str], str], most: int) -> None:
    """The longest name is taken, one more character is not, and the error stays short."""
    assert check("a" * most) == "a" * most
    with pytest.raises(ConfigurationError) as caught:
        check("a" * 100_000)
    assert len(str(caught.value)) < 500
    assert not accepted(check, "a" * (most + 1))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", [None, 5, b"events", ("a",)])
def test_names_are_text(check: Callable[[object], str], name: object) -> None:
    """Another type is refused with a word about it, not with an error of regular expressions."""
    with pytest.raises(ConfigurationError, match="is a str"):
        check(name)


@given(st.text())
def test_ids_are_printable(value: str) -> None:
    """An id may be any printable text of 1 to 200 characters: it stands in headers, logs and pages."""
    assert accepted(check_id, value) == (0 < len(value) <= 200 and value.isprintable())


@given(CHANNELS | PATTERNS, st.data())
def test_matching(source: str, data: st.DataObject) -> None:
    """A pattern takes what its tokens say: * for one, a last > for one or more, everything else itself."""
    like = re.sub(r"\*", lambda _: data.draw(TOKENS), source)
    like = re.sub(">", lambda _: data.draw(CHANNELS), like)
    assert matcher(source)(like)
    for channel in (like, data.draw(CHANNELS), f"{like}.x", like.rpartition(".")[0] or "x"):
        assert takes(source, channel) == matcher(source)(channel)


@pytest.mark.parametrize(
    ("source", "channel", "taken"),
    [
        ("events.*", "events.a", True),
        ("events.*", "events.a.b", False),
        ("events.*", "events", False),
        ("events.>", "events.a.b", True),
        ("events.>", "events", False),
        (">", "events", True),
        ("*.b.>", "a.b.c", True),
        ("a-b", "a-b", True),
        ("a_b", "axb", False),
    ],
)
def test_matching_by_example(source: str, channel: str, taken: bool) -> None:
    """The cases that other brokers read differently."""
    assert taken == matcher(source)(channel)


def accepted(check: Callable[[str], str], name: str) -> bool:
    error = raised(lambda: check(name))
    assert error is None or isinstance(error, ConfigurationError)
    return error is None
