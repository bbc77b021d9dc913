"""What scenarios do to a subject's server, done to a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.scenarios import outages
from tests.faults.scene import Scene
from tests.faults.subject import Subject
from tests.servers.blackhole import Proxy
from tests.servers.plugin import Start


@asynccontextmanager
async def staged(subject: Subject, folder: Path) -> AsyncIterator[Scene]:
    scene = Scene(subject, folder, seed="1", ordered=False)
    yield scene
    await scene.close()


async def ping(port: int, patience: float) -> bytes:
    """What the server answers within so many seconds. Raises OSError, TimeoutError among them."""
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PING\r\n")
        try:
            return await reader.readexactly(7)
        finally:
            writer.close()


async def test_a_server_is_killed_and_frozen(start_redis: Start, tmp_path: Path) -> None:
    """Killed it refuses, frozen it is silent, and afterwards it answers again at its old port."""
    server = start_redis()
    async with staged(Subject(server.url(), server=server), tmp_path) as scene:
        await outages.kill(scene)
        with pytest.raises(ConnectionRefusedError):
            await ping(server.port, 30.0)
        await outages.start(scene)
        assert b"+PONG\r\n" == await ping(server.port, 30.0)
        await outages.freeze(scene)
        with pytest.raises(TimeoutError):
            await ping(server.port, 0.1)
        await outages.thaw(scene)
        assert b"+PONG\r\n" == await ping(server.port, 30.0)


async def test_a_port_becomes_a_black_hole(
    start_redis: Start, open_proxy: Callable[[int], Proxy], tmp_path: Path
) -> None:
    """Connections are taken and nothing comes back, until the proxy passes on again."""
    proxy = open_proxy(start_redis().port)
    async with staged(Subject(f"redis://127.0.0.1:{proxy.port}", proxy=proxy), tmp_path) as scene:
        await outages.stall(scene)
        with pytest.raises(TimeoutError):
            await ping(proxy.port, 0.1)
        await outages.forward(scene)
        assert b"+PONG\r\n" == await ping(proxy.port, 30.0)
