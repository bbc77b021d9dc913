"""nats:// keeps every promise that its capabilities make, on a real server."""

from __future__ import annotations

import pytest

from pabal.testing import UrlSubject
from pabal.testing.plugin import Conformance
from tests.servers.legs import Given
from tests.servers.server import Server


class TestNats(Conformance):
    @pytest.fixture
    def subject(self, nats_server: Server | Given, own_token: str) -> UrlSubject:
        return UrlSubject(nats_server.url("nats") + f"?prefix={own_token}", virtual=False)
