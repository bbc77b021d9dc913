from __future__ import annotations

import asyncio

import pytest

from pabal.model.address import Address
from pabal.model.clock import VirtualClock
from pabal.model.errors import CapabilityError, ConfigurationError, ConnectionFailed
from pabal.model.transport import Administers, Parks, Requests, Source, Transport, TransportFactory
from pabal.transports.memory import MemoryTransport
from tests.unit.transports.memory import (
    fresh_name,
    group,
    ids,
    letters,
    opened,
    post,
    publish,
    take,
)

FACTORY: TransportFactory = MemoryTransport
PROTOCOLS: tuple[type[Transport], type[Requests], type[Parks], type[Administers]] = (MemoryTransport,) * 4


async def test_private_brokers_share_nothing() -> None:
    """Each memory:// is a broker of its own."""
    one, other = await opened(), await opened()
    await group(one)
    assert (await publish(one, "1"))[0].receivers == 1
    assert (await publish(other, "1"))[0].receivers == 0


async def test_named_broker_outlives_its_transports() -> None:
    """The backlog and the dead letters of memory://name wait for the next transport of that name."""
    url = f"memory://{fresh_name()}"
    first = await opened(url)
    await group(first)
    await publish(first, "1")
    await publish(first, "2", channel="nobody")
    await first.aclose()
    second = await opened(url)
    assert ids(await take(await group(second))) == ["1"]
    assert [letter.message.id for letter in await letters(second)] == ["2"]


def test_name_serves_a_later_event_loop() -> None:
    """What an ended loop left open is closed: its messages are given back and its readers are no members."""
    url, clock = f"memory://{fresh_name()}", VirtualClock()

    async def leave_open() -> tuple[MemoryTransport, asyncio.Task[object]]:
        transport = await opened(url, clock)
        reader = await group(transport)
        await group(transport, None)
        await publish(transport, "1", "2")
        await publish(transport, "3", due=clock.time() + 5)
        assert ids(await take(reader, 1)) == ["1"]
        waiting = asyncio.ensure_future((await group(transport, "other")).receive(1))
        await asyncio.sleep(0)
        return transport, waiting

    async def take_over(left: MemoryTransport) -> None:
        with pytest.raises(ConnectionFailed, match="not open in this event loop"):
            await left.publish([])
        transport = await opened(url, clock)
        assert {each.name: each.members for each in await transport.groups()} == {"g": 0, "other": 0}
        assert (await publish(transport, "4"))[0].receivers == 2
        reader = await group(transport)
        assert ids(got := await take(reader)) == ["1", "2", "4"]
        assert {1} == {delivery.attempt for delivery in got}
        clock.advance(5)
        assert ids(await take(reader)) == ["3"]
        with pytest.raises(ConnectionFailed, match="closed"):
            await left.publish([])
        await transport.aclose()

    loop = asyncio.new_event_loop()
    left, waiting = loop.run_until_complete(leave_open())
    loop.close()
    asyncio.run(take_over(left))
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # its loop is gone, as intended


def test_name_is_refused_to_a_second_running_loop() -> None:
    """Two event loops at once cannot share a name; the error says what to do."""
    url = f"memory://{fresh_name()}"

    async def main() -> None:
        transport = await opened(url)
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, opened(url))
        await transport.aclose()
        await asyncio.to_thread(asyncio.run, opened(url))

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    ["memory://a:1", "memory://me@a", "memory://a/b", "memory://?lease=0", "memory://?max_body=0", "memory://?x=1"],
)
def test_bad_url_is_refused(url: str) -> None:
    """A URL that means nothing here is a ConfigurationError, before anything is opened."""
    with pytest.raises(ConfigurationError):
        MemoryTransport(Address(url), clock=VirtualClock())


async def test_closed_is_closed() -> None:
    """After aclose, once or at the same time twice, every use says that the transport is closed."""
    transport = await opened()
    reader = await group(transport)
    await asyncio.gather(transport.aclose(), transport.aclose())
    await reader.aclose()
    for use in (
        transport.open(),
        transport.publish([]),
        transport.subscribe(Source("a", "g")),
        transport.request(post("1").message),
        transport.park([]),
        transport.redrive([]),
        transport.groups(),
        letters(transport),
        reader.receive(1),
    ):
        with pytest.raises(ConnectionFailed, match="closed"):
            await use


async def test_use_before_open_is_refused() -> None:
    """A transport that was not opened says so."""
    with pytest.raises(ConnectionFailed, match="open"):
        await MemoryTransport(Address("memory://"), clock=VirtualClock()).publish([])


async def test_subscription_refuses_what_it_cannot_keep() -> None:
    """Bad names and windows are ConfigurationErrors, a start is a CapabilityError: no log is kept."""
    transport = await opened()
    for source in (Source("a..b", "g"), Source("a", "g g"), Source("a", "g", window=-1)):
        with pytest.raises(ConfigurationError):
            await transport.subscribe(source)
    with pytest.raises(CapabilityError, match="no log"):
        await transport.subscribe(Source("a", "g", start="oldest"))
    with pytest.raises(ConfigurationError):
        await (await group(transport)).receive(0)
