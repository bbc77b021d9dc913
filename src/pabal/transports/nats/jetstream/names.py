"""What pabal's things are called on a server, and which subjects mean which."""

from __future__ import annotations

import re
from hashlib import blake2b

_MOST = 80


def stream_name(subject: str) -> str:
    """The name of the stream that pabal makes for a first token, behind its prefix."""
    return f"pabal-{subject}" if "." not in subject else f"pabal-{_readable(subject)}-{_digest(subject)}"


def consumer_name(source: str, group: str) -> str:
    """The name of a group's durable consumer: without dots, and not that of another group."""
    return f"{_readable(f'{group}-{source}')}-{_digest(f'{group}@{source}')}"


def covers(pattern: str, subject: str) -> bool:
    """Whether all that `subject`, which may be a pattern, stands for is in `pattern` too."""
    wide, narrow = pattern.split("."), subject.split(".")
    for index, token in enumerate(wide):
        if token == ">":
            return len(narrow) > index
        if index >= len(narrow) or narrow[index] == ">" or (token != "*" and token != narrow[index]):
            return False
    return len(wide) == len(narrow)


def overlap(one: str, other: str) -> bool:
    """Whether two subjects or patterns have something in common."""
    left, right = one.split("."), other.split(".")
    for mine, theirs in zip(left, right, strict=False):
        if ">" in (mine, theirs):
            return True
        if mine != theirs and "*" not in (mine, theirs):
            return False
    return len(left) == len(right)


def _readable(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:_MOST]


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
