"""sqlite:// keeps every promise that its capabilities make."""

from __future__ import annotations

from pathlib import Path

import pytest

from pabal.testing import UrlSubject
from pabal.testing.plugin import Conformance


class TestSqlite(Conformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> UrlSubject:
        return UrlSubject(f"sqlite:///{tmp_path}/box.db", virtual=True)
