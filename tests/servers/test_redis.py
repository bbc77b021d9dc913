"""Redis and Valkey as the tests run them, on every version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio as redis
from redis import exceptions

from tests.servers.certificates import Certificates, make_certificates
from tests.servers.legs import Given
from tests.servers.plugin import Start
from tests.servers.server import Server


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Any]:
    client = redis.from_url(url, decode_responses=True, **options)
    try:
        yield client
    finally:
        await client.aclose()


async def test_one_server_is_shared_by_tests(redis_server: Server | Given, own_token: str) -> None:
    """Tests that keep to keys of their own can use one server."""
    async with connected(redis_server.url("redis")) as client:
        assert await client.set(own_token, "value", ex=60)
        assert await client.get(own_token) == "value"


async def test_streams_survive_kill_9(start_redis: Start) -> None:
    """What a stream has acknowledged, and what of it is pending, is there when the server was killed and started."""
    server = start_redis()
    url = server.url()
    async with connected(url) as client:
        await client.xgroup_create("kept", "group", id="0", mkstream=True)
        for number in range(10):
            await client.xadd("kept", {"data": number})
        await client.xreadgroup("group", "member", {"kept": ">"}, count=4)
    server.kill()
    server.start()
    assert url == server.url()
    async with connected(url) as client:
        assert 10 == await client.xlen("kept")
        assert 4 == (await client.xpending("kept", "group"))["pending"]


async def test_without_appendonly(start_redis: Start) -> None:
    """A server may be had that forgets all when it ends, and says so in its configuration."""
    server = start_redis(appendonly=False)
    async with connected(server.url()) as client:
        assert await client.config_get("appendonly") == {"appendonly": "no"}
        await client.set("key", "value")
    server.restart()
    async with connected(server.url()) as client:
        assert await client.get("key") is None


@pytest.mark.parametrize(
    "credentials",
    [{"password": "p:/@ss"}, {"user": "joe", "password": "p:/@ss"}],
    ids=["password", "user"],
)
async def test_credentials(start_redis: Start, credentials: dict[str, str]) -> None:
    """With credentials its URL has them, and who comes without them is turned away."""
    server = start_redis(**credentials)
    async with connected(server.url()) as client:
        assert await client.ping()
    async with connected(f"redis://127.0.0.1:{server.port}") as client:
        with pytest.raises(exceptions.AuthenticationError):
            await client.ping()


@pytest.mark.legs("tls")
async def test_tls(start_redis: Start, certificates: Certificates, tmp_path: Any) -> None:
    """With certificates it speaks TLS with those who trust their authority, and with nobody else."""
    server = start_redis(certificates=certificates)
    assert f"rediss://127.0.0.1:{server.port}" == server.url()
    async with connected(server.url(), ssl_ca_certs=str(certificates.authority)) as client:
        assert await client.ping()
    async with connected(server.url(), ssl_ca_certs=str(make_certificates(tmp_path).authority)) as client:
        with pytest.raises(exceptions.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.ping()
    async with connected(server.url("redis")) as client:
        with pytest.raises(exceptions.ConnectionError):
            await client.ping()


async def test_settings(start_redis: Start) -> None:
    """Any other setting of the server can be given."""
    async with connected(start_redis(settings={"appendfsync": "everysec"}).url()) as client:
        assert await client.config_get("appendfsync") == {"appendfsync": "everysec"}
