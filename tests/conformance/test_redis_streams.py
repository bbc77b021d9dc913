"""redis+streams:// keeps every promise that its capabilities make, on a server that is killed."""

from __future__ import annotations

import pytest

from pabal.testing import UrlSubject
from pabal.testing.plugin import Conformance
from tests.servers.plugin import Start
from tests.servers.server import Server


class RestartedSubject(UrlSubject):
    """A server of its own."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.url("redis+streams"), virtual=False)
        self._server = server

    async def restart(self) -> None:
        await super().restart()
        self._server.kill()
        self._server.start()


class TestRedisStreams(Conformance):
    @pytest.fixture
    def subject(self, start_redis: Start) -> RestartedSubject:
        return RestartedSubject(start_redis())
