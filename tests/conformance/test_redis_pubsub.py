"""redis+pubsub:// keeps every promise that its capabilities make, on a real server."""

from __future__ import annotations

import pytest

from pabal.testing import UrlSubject
from pabal.testing.plugin import Conformance
from tests.servers.legs import Given
from tests.servers.server import Server


class TestRedisPubSub(Conformance):
    @pytest.fixture
    def subject(self, redis_server: Server | Given, own_token: str) -> UrlSubject:
        return UrlSubject(redis_server.url("redis+pubsub") + f"?prefix={own_token}:", virtual=False)
