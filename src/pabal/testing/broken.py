"""How a broken promise is said: what was expected, and what came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

SHOWN = 5


class PromiseBroken(AssertionError):
    """A transport does not do what it has to."""


def expect(actual: object, expected: object, what: str) -> None:
    """Raise PromiseBroken unless `actual` equals `expected`; `what` names the thing compared."""
    if actual != expected:
        raise PromiseBroken(f"Expected {what} to be {_short(expected)}, got {_short(actual)}.")


def expect_that(kept: object, expected: str, actual: object) -> None:
    """Raise PromiseBroken unless `kept`; `expected` is a clause, `actual` what was seen instead."""
    if not kept:
        raise PromiseBroken(f"Expected {expected}, got {_short(actual)}.")


def expect_each_once(actual: Iterable[str], expected: Iterable[str], what: str) -> None:
    """Raise PromiseBroken unless `actual` has every one of `expected` exactly once, in any order."""
    got, wanted = Counter(actual), Counter(expected)
    lost, doubled = wanted - got, got - wanted
    if lost or doubled:
        parts = [f"{sum(lost.values())} lost ({_some(lost)})"] if lost else []
        parts += [f"{sum(doubled.values())} too many ({_some(doubled)})"] if doubled else []
        raise PromiseBroken(f"Expected {what}: {sum(wanted.values())} once each, got {' and '.join(parts)}.")


def _some(ids: Counter[str]) -> str:
    more = len(ids) - SHOWN
    return ", ".join(list(ids)[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"
