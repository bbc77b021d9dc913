"""Channel, pattern and group names: what is valid, and what matches."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from pabal.model.errors import ConfigurationError

MAX_CHANNEL = 200
MAX_GROUP = 64
MAX_ID = 200

_CHANNEL = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_PATTERN = re.compile(r"(?:[A-Za-z0-9_-]+|\*)(?:\.(?:[A-Za-z0-9_-]+|\*))*(?:\.>)?|>")
_GROUP = re.compile(r"[A-Za-z0-9_.-]+")


@lru_cache(maxsize=4096)
def check_channel(name: str) -> str:
    """Return `name` if it is a channel: dot-separated tokens of ``[A-Za-z0-9_-]``, 1 to 200 characters.

    Raises ConfigurationError otherwise.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"a channel is a str, not {type(name).__name__}")
    if len(name) > MAX_CHANNEL or not _CHANNEL.fullmatch(name):
        if is_pattern(name) and _PATTERN.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} is a pattern; patterns are for subscribing, publish to a channel without * and >"
            )
        raise ConfigurationError(
            f"bad channel {name[:MAX_CHANNEL]!r}: use dot-separated tokens of letters, digits, _ and -, "
            f"1 to {MAX_CHANNEL} characters, like events.todo.newitem"
        )
    return name


@lru_cache(maxsize=4096)
def check_source(name: str) -> str:
    """Return `name` if it is a channel or a pattern; raises ConfigurationError otherwise."""
    if not isinstance(name, str):
        raise ConfigurationError(f"a channel or pattern is a str, not {type(name).__name__}")
    if len(name) > MAX_CHANNEL or not _PATTERN.fullmatch(name):
        raise ConfigurationError(
            f"bad channel or pattern {name[:MAX_CHANNEL]!r}: use dot-separated tokens of letters, digits, _ and -, "
            f"1 to {MAX_CHANNEL} characters; in a pattern * stands for one token and a last > for one or more"
        )
    return name


@lru_cache(maxsize=4096)
def check_group(name: str) -> str:
    """Return `name` if it is a group's name: letters, digits, ``_ . -``, 1 to 64 characters."""
    if not isinstance(name, str):
        raise ConfigurationError(f"a group is a str, not {type(name).__name__}")
    if len(name) > MAX_GROUP or not _GROUP.fullmatch(name):
        raise ConfigurationError(
            f"bad group {name[:MAX_GROUP]!r}: use letters, digits, _ . and -, 1 to {MAX_GROUP} characters"
        )
    return name


def check_id(value: str) -> str:
    """Return `value` if it may be a message id: 1 to 200 printable characters."""
    if not isinstance(value, str):
        raise ConfigurationError(f"a message id is a str, not {type(value).__name__}")
    if not 1 <= len(value) <= MAX_ID or not value.isprintable():
        raise ConfigurationError(f"a message id is 1 to {MAX_ID} printable characters")
    return value


def is_pattern(source: str) -> bool:
    """Whether `source` is a pattern and not a plain channel."""
    return "*" in source or ">" in source


@lru_cache(maxsize=4096)
def matcher(source: str) -> Callable[[str], bool]:
    """A function that tells whether a channel is taken by `source` (a channel or a pattern)."""
    if not is_pattern(source):
        return source.__eq__
    parts = ["[^.]+" if token == "*" else ".+" if token == ">" else re.escape(token) for token in source.split(".")]
    fullmatch = re.compile(r"\.".join(parts)).fullmatch
    return lambda channel: fullmatch(channel) is not None
