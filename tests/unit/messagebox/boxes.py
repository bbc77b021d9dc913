"""What the tests of message boxes share: messages, posts, and transports that are closed in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pabal.model.address import Address
from pabal.model.clock import Clock, VirtualClock, utc
from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.message import Message, new_id
from pabal.model.outcome import Outcome, Settlement
from pabal.model.transport import Delivery, Post, Settled, Subscription
from pabal.transports.sql import SqliteTransport

START = 1_700_000_000.0


def message(channel: str = "a.b", body: bytes = b"", *, key: str | None = None) -> Message:
    return Message(id=new_id(), channel=channel, body=body, key=key, type=channel, source="tests", time=utc(START))


def posts(*bodies: bytes, channel: str = "a.b") -> list[Post]:
    return [Post(message(channel, body)) for body in bodies]


def transport_to(path: Path, clock: Clock | None = None, options: str = "") -> SqliteTransport:
    return SqliteTransport(Address(f"sqlite:///{path}{options}"), clock=clock or VirtualClock(START))


@asynccontextmanager
async def opened(path: Path, clock: Clock | None = None, options: str = "") -> AsyncIterator[SqliteTransport]:
    transport = transport_to(path, clock, options)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.aclose()


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    got: list[Delivery] = []
    while len(got) < count:
        got += await subscription.receive(count - len(got))
    return got


async def settle(subscription: Subscription, deliveries: Sequence[Delivery], outcome: Outcome) -> list[Settlement]:
    return list(await subscription.settle([Settled(delivery, outcome) for delivery in deliveries]))


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.message.body for delivery in deliveries]


async def all_letters(transport: SqliteTransport, wanted: LetterFilter = LetterFilter()) -> list[DeadLetter]:  # noqa: B008 - frozen
    return [letter async for letter in transport.letters(wanted)]
