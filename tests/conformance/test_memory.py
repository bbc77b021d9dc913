"""memory:// keeps every promise that its capabilities make."""

from __future__ import annotations

from itertools import count

import pytest

from pabal.testing import Promise, UrlSubject
from tests.conformance.asked import asked

numbers = count()


def subject() -> UrlSubject:
    """A store that nobody else uses."""
    return UrlSubject(lambda: f"memory://conformance-{next(numbers)}", virtual=True)


@pytest.mark.parametrize("promise", asked(lambda _: subject()))
async def test_memory_keeps(promise: Promise) -> None:
    """memory:// keeps the promise."""
    await promise.check(subject())
