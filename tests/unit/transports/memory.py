"""What the tests of ``memory://`` share: transports on a clock that is turned by hand, and short words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from pabal.model.address import Address
from pabal.model.clock import Clock, VirtualClock
from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Failure, Outcome, Settlement
from pabal.model.transport import Delivery, GroupStatus, Post, Receipt, Settled, Source, Subscription
from pabal.transports.memory import MemoryTransport

TIME = datetime(2024, 5, 1, tzinfo=UTC)
FAILURE = Failure(TIME, 1, "ValueError: no")
_names = count(1)


def fresh_name() -> str:
    """A broker's name that no other test uses."""
    return f"test-{next(_names)}"


async def opened(url: str = "memory://", clock: Clock | None = None) -> MemoryTransport:
    """An open transport, by default with a clock that stands still."""
    transport = MemoryTransport(Address(url), clock=clock or VirtualClock())
    await transport.open()
    return transport


def post(id: str, channel: str = "a.b", *, key: str | None = None, body: bytes = b"", **more: Any) -> Post:
    """A post; `more` are its own fields."""
    return Post(Message(id=id, channel=channel, time=TIME, key=key, body=body), **more)


async def publish(transport: MemoryTransport, *ids: str, keyed: bool = False, **more: Any) -> list[Receipt]:
    """Publish a message for each id; with `keyed` an id such as ``k1`` has the key ``k``."""
    posts = [post(id, key=id[0] if keyed else None, **more) for id in ids]
    return list(await transport.publish(posts))


async def group(
    transport: MemoryTransport, name: str | None = "g", *, channel: str = "a.b", **more: Any
) -> Subscription:
    """A member of a group of ``a.b``, or a listener."""
    return await transport.subscribe(Source(channel, name, **more))


async def take(subscription: Subscription, limit: int = 100) -> list[Delivery]:
    """What is ready now, without waiting."""
    got: list[Delivery] = []
    receiving = asyncio.ensure_future(subscription.receive(limit))
    await asyncio.sleep(0)
    while receiving.done():
        got += await receiving
        if len(got) >= limit:
            return got
        receiving = asyncio.ensure_future(subscription.receive(limit - len(got)))
        await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.wait([receiving])
    return got


async def settle(
    subscription: Subscription, deliveries: Sequence[Delivery], outcome: Outcome = ACKED
) -> list[Settlement]:
    """End deliveries with one outcome."""
    return list(await subscription.settle([Settled(delivery, outcome) for delivery in deliveries]))


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    """The messages' ids."""
    return [delivery.message.id for delivery in deliveries]


async def letters(transport: MemoryTransport, **wanted: Any) -> list[DeadLetter]:
    """The dead letters that fit."""
    return [letter async for letter in transport.letters(LetterFilter(**wanted))]


async def status(transport: MemoryTransport) -> GroupStatus:
    """The one group there is."""
    (only,) = await transport.groups()
    return only
