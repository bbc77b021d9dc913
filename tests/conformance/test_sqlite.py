"""sqlite:// keeps every promise that its capabilities make."""

from __future__ import annotations

from pathlib import Path

import pytest

from pabal.testing import Promise, UrlSubject
from tests.conformance.asked import asked


def subject(folder: Path) -> UrlSubject:
    """A file that nobody else uses."""
    return UrlSubject(lambda: f"sqlite:///{folder}/box.db", virtual=True)


@pytest.mark.parametrize("promise", asked(subject))
async def test_sqlite_keeps(promise: Promise, tmp_path: Path) -> None:
    """sqlite:// keeps the promise."""
    await promise.check(subject(tmp_path))
