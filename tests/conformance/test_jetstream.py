"""jetstream:// keeps every promise that its capabilities make, on a real server that it survives."""

from __future__ import annotations

import asyncio

import pytest

from pabal.model.transport import Transport
from pabal.testing import UrlSubject
from pabal.testing.plugin import Conformance
from tests.servers.plugin import Start
from tests.servers.server import Server

LEASE = 5.0


class OwnServer(UrlSubject):
    """A server that no other test uses.

    It is restarted in good order: one that is killed hands out again what was acknowledged in the last moments, which
    it had not written down yet.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(server.url("jetstream"), virtual=False)
        self._server = server

    async def connect(
        self, *, lease: float | None = None, max_body: int | None = None, overflow: int | None = None
    ) -> Transport:
        """A new transport, with a short lease: what was given back before a restart comes after it with its lease."""
        return await super().connect(lease=LEASE if lease is None else lease, max_body=max_body, overflow=overflow)

    async def restart(self) -> None:
        """Close every transport, and restart the server."""
        await super().restart()
        await asyncio.to_thread(self._server.restart)


class TestJetStream(Conformance):
    @pytest.fixture
    def subject(self, start_nats: Start) -> UrlSubject:
        return OwnServer(start_nats())
