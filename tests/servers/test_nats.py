"""NATS as the tests run it, on every version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import NotFoundError

from tests.servers.certificates import Certificates
from tests.servers.legs import Given
from tests.servers.plugin import Start
from tests.servers.server import Server


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Client]:
    """A client that tries once and tells what went wrong by its exception alone."""

    async def quiet(error: Exception) -> None:
        pass

    client = await nats.connect(url, allow_reconnect=False, connect_timeout=5, error_cb=quiet, **options)
    try:
        yield client
    finally:
        await client.close()


async def told(server: Server, words: str) -> str:
    """All that a server says to who says this, in plain text, until it turns them away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(words.encode())
    said = await reader.read()
    writer.close()
    return said.decode(errors="replace")


async def test_one_server_is_shared_by_tests(nats_server: Server | Given, own_token: str) -> None:
    """Tests that keep to subjects of their own can use one server, which has JetStream."""
    async with connected(nats_server.url("nats")) as client:
        stream = client.jetstream()
        await stream.add_stream(name=own_token, subjects=[own_token])
        assert (await stream.publish(own_token, b"body")).seq == 1
        await stream.delete_stream(own_token)


async def test_jetstream_survives_kill_9(start_nats: Start) -> None:
    """What JetStream has acknowledged is there when the server was killed and started again, at the same URL."""
    server = start_nats()
    url = server.url()
    async with connected(url) as client:
        await client.jetstream().add_stream(name="kept", subjects=["kept"])
        for number in range(10):
            await client.jetstream().publish("kept", str(number).encode())
    server.kill()
    server.start()
    assert url == server.url()
    async with connected(url) as client:
        assert (await client.jetstream().stream_info("kept")).state.messages == 10


async def test_without_jetstream(start_nats: Start) -> None:
    """A server may be had that keeps nothing."""
    async with connected(start_nats(jetstream=False).url()) as client:
        with pytest.raises(Error):
            await client.jetstream().account_info()


@pytest.mark.parametrize(
    "credentials",
    [{"user": "joe", "password": "p4ss"}, {"token": "t0ken"}],
    ids=["user", "token"],
)
async def test_credentials(start_nats: Start, credentials: dict[str, str]) -> None:
    """With credentials its URL has them, and who comes without them is turned away."""
    server = start_nats(**credentials)
    async with connected(server.url()) as client:
        await client.jetstream().account_info()
    assert "-ERR 'Authorization Violation'" in await told(server, "CONNECT {}\r\nPING\r\n")


@pytest.mark.legs("tls")
async def test_tls(start_nats: Start, certificates: Certificates) -> None:
    """With certificates it speaks TLS with those who trust their authority."""
    server = start_nats(certificates=certificates)
    assert f"tls://127.0.0.1:{server.port}" == server.url()
    async with connected(server.url(), tls=certificates.trusting()) as client:
        await client.flush()
    assert '"tls_required":true' in await told(server, "CONNECT {}\r\nPING\r\n")


async def test_settings(start_nats: Start) -> None:
    """Any other setting of the server can be given."""
    async with connected(start_nats(settings={"max_payload": 1000}).url()) as client:
        assert 1000 == client.max_payload


async def test_a_stopped_server_has_said_good_bye(start_nats: Start) -> None:
    """Stopping is by the server's own way to stop, which closes its clients' connections."""
    server = start_nats()
    gone = asyncio.Event()

    async def closed() -> None:
        gone.set()

    async with connected(server.url(), closed_cb=closed):
        server.stop()
        await asyncio.wait_for(gone.wait(), 10)
    assert "Initiating Shutdown" in server.log


async def test_streams_are_private(start_nats: Start) -> None:
    """Two servers of one test know nothing of each other."""
    one, other = start_nats(), start_nats()
    assert one.port != other.port
    async with connected(one.url()) as client:
        await client.jetstream().add_stream(name="here", subjects=["here"])
    async with connected(other.url()) as client:
        with pytest.raises(NotFoundError):
            await client.jetstream().stream_info("here")
