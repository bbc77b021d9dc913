"""What tests of transports on NATS have: a URL of their own, and a client that knows nothing of pabal."""

from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client

from pabal.model.clock import SystemClock
from pabal.runtime.registry import make_transport
from pabal.transports.nats import JetStreamTransport
from tests.servers.legs import Given
from tests.servers.server import Server


@pytest.fixture
def nats_url(nats_server: Server | Given, own_token: str) -> str:
    """NATS without JetStream, with a prefix of the test's own."""
    return nats_server.url("nats") + f"?prefix={own_token}"


@pytest.fixture
def jetstream_url(nats_server: Server | Given, own_token: str) -> str:
    """JetStream, with a prefix of the test's own."""
    return nats_server.url("jetstream") + f"?prefix={own_token}"


@pytest.fixture
async def plain(nats_server: Server | Given) -> AsyncIterator[Client]:
    """A client that knows nothing of pabal."""
    client = await nats.connect(nats_server.url("nats"))
    yield client
    await client.close()


@pytest.fixture
async def jetstream(jetstream_url: str) -> AsyncIterator[JetStreamTransport]:
    """An opened transport."""
    transport = make_transport(jetstream_url, clock=SystemClock())
    assert isinstance(transport, JetStreamTransport)
    await transport.open()
    yield transport
    await transport.aclose()
