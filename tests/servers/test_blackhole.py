"""A network that fails on command, in front of real sockets and real servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import redis.asyncio as redis
from redis import exceptions

from tests.servers.blackhole import Proxy
from tests.servers.plugin import Start
from tests.servers.ports import LOOPBACK

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server on loopback that answers all it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.news = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.heard += data
                self.news.set()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def hear(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    async with await asyncio.start_server(echo.serve, LOOPBACK, 0) as server:
        echo.port = server.sockets[0].getsockname()[1]
        yield echo


@pytest.fixture
def proxy(echo: Echo, open_proxy: Callable[[int], Proxy]) -> Proxy:
    return open_proxy(echo.port)


@pytest.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Callable[[], asyncio.Future[Streams]]]:
    writers = []

    async def connected() -> Streams:
        reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
        writers.append(writer)
        return reader, writer

    yield lambda: asyncio.ensure_future(connected())
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


Connect = Callable[[], asyncio.Future[Streams]]


async def answer(reader: asyncio.StreamReader, count: int) -> bytes:
    async with asyncio.timeout(10):
        return await reader.readexactly(count)


async def test_it_passes_everything(proxy: Proxy, connect: Connect) -> None:
    """Many connections at once get back what they send, more than any buffer holds, and the end of it."""
    streams = [await connect() for _ in range(20)]

    async def talk(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = bytes([number]) * 2_000_000
        writer.write(sent)
        assert sent == await answer(reader, len(sent))
        writer.write_eof()
        assert b"" == await reader.read()

    await asyncio.gather(*(talk(number, *each) for number, each in enumerate(streams)))
    assert proxy.accepted == 20


async def test_stalled_connections_stay_open_and_silent(echo: Echo, proxy: Proxy, connect: Connect) -> None:
    """In a black hole nothing arrives and nothing closes, on new connections neither; afterwards all of it arrives."""
    reader, writer = await connect()
    writer.write(b"a")
    assert b"a" == await answer(reader, 1)
    proxy.stall()
    writer.write(b"b")
    late_reader, late_writer = await connect()
    late_writer.write(b"c")
    await writer.drain()
    silent = asyncio.gather(reader.read(1), late_reader.read(1))
    done, _ = await asyncio.wait([silent], timeout=0.1)
    assert not done
    assert b"a" == echo.heard
    proxy.forward()
    async with asyncio.timeout(10):
        assert [b"b", b"c"] == list(await silent)


async def test_answers_alone_can_be_lost(echo: Echo, proxy: Proxy, connect: Connect) -> None:
    """With the answers stalled the server acts on what it is told, and its client does not learn of it."""
    reader, writer = await connect()
    proxy.stall(requests=False)
    writer.write(b"publish")
    await echo.hear(7)
    silent = asyncio.ensure_future(reader.read(7))
    done, _ = await asyncio.wait([silent], timeout=0.1)
    assert not done
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await silent


async def test_cut_connections_are_reset(proxy: Proxy, connect: Connect) -> None:
    """A cut ends every connection by a reset, and leaves the port to new ones."""
    streams = [await connect() for _ in range(3)]
    for reader, writer in streams:
        writer.write(b"a")
        assert b"a" == await answer(reader, 1)
    assert proxy.connections == 3
    proxy.cut()
    assert proxy.connections == 0
    for reader, _ in streams:
        with pytest.raises(ConnectionResetError):
            await answer(reader, 1)
    reader, writer = await connect()
    writer.write(b"b")
    assert b"b" == await answer(reader, 1)


async def test_refusing_lets_those_there_go_on(proxy: Proxy, connect: Connect) -> None:
    """New connections are refused while old ones work, until the port is open again."""
    reader, writer = await connect()
    proxy.refuse()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect()
    writer.write(b"a")
    assert b"a" == await answer(reader, 1)
    proxy.forward()
    reader, writer = await connect()
    writer.write(b"b")
    assert b"b" == await answer(reader, 1)


def test_a_dead_server_behind_it() -> None:
    """When nobody listens behind it a connection is reset, at once or as soon as it is there; closing twice is fine."""
    with socket.socket() as nobody:
        nobody.bind((LOOPBACK, 0))
        proxy = Proxy(nobody.getsockname()[1])
        address = LOOPBACK, proxy.port
        with pytest.raises(ConnectionResetError), socket.create_connection(address, timeout=10) as client:
            client.recv(1)
    proxy.close()
    proxy.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


async def test_in_front_of_a_server(start_redis: Start, open_proxy: Callable[[int], Proxy]) -> None:
    """A client whose URL has the proxy's port times out in the black hole and works again after it."""
    server = start_redis(password="p4ss")
    proxy = open_proxy(server.port)
    client = redis.from_url(server.url(port=proxy.port), socket_timeout=0.2, retry=None)
    try:
        assert await client.ping()
        proxy.stall()
        with pytest.raises(exceptions.TimeoutError):
            await client.ping()
        proxy.forward()
        assert await client.ping()
    finally:
        await client.aclose()
