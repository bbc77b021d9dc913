"""A connection that breaks between a message and the answer to it: nobody knows, and nobody says that he does."""

import asyncio
from collections.abc import Callable

import pytest

from pabal import Bus, PublishTimeout
from tests.servers.blackhole import Proxy
from tests.servers.plugin import Start
from tests.servers.server import Server

OpenProxy = Callable[[int], Proxy]


async def check(server: Server, scheme: str, proxy: Proxy) -> None:
    """A message, and then a batch, are sent and may be there when their connection is lost."""
    async with Bus(server.url(scheme, port=proxy.port), dead_letters="memory://") as bus:
        await bus.publish("a", 0)
        for values in ([1], [2, 3]):
            proxy.stall(requests=False)
            lost = asyncio.create_task(bus.publish_many("a", values, timeout=30.0))
            await asyncio.sleep(0)  # it is on its way
            proxy.cut()
            proxy.forward()
            with pytest.raises(PublishTimeout, match="may or may not") as error:
                await lost
            assert len(values) == len(error.value.receipts)
            assert all(isinstance(receipt.error, PublishTimeout) for receipt in error.value.receipts)
            await bus.publish("a", 4)


async def test_redis_streams(start_redis: Start, open_proxy: OpenProxy) -> None:
    """Streams: PublishTimeout at once, for each message and for all of them, and never that they were not taken."""
    server = start_redis()
    await check(server, "redis+streams", open_proxy(server.port))


async def test_jetstream(start_nats: Start, open_proxy: OpenProxy) -> None:
    """JetStream: the same."""
    server = start_nats()
    await check(server, "jetstream", open_proxy(server.port))
