"""memory:// keeps every promise that its capabilities make."""

from __future__ import annotations

import pytest

from pabal.model.message import new_id
from pabal.testing import UrlSubject
from pabal.testing.plugin import Conformance


class TestMemory(Conformance):
    @pytest.fixture
    def subject(self) -> UrlSubject:
        return UrlSubject(f"memory://{new_id()}", virtual=True)
