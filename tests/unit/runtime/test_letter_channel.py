"""Dead letters that travel as messages, on a transport that keeps none itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pabal.model.address import Address
from pabal.model.clock import VirtualClock
from pabal.model.cloudevents import from_binary, to_binary
from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import Post, Source
from pabal.runtime.letter_channel import CHANNEL, GROUP, LETTER, LetterChannel
from pabal.transports.memory import MemoryTransport

THEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAILED = Message(
    id="m-1",
    channel="events.paid",
    body=b"\xff{",
    key="user-7",
    headers={"shop": "Käse"},
    content_type="application/json",
    type="events.paid",
    source="shop",
    time=THEN,
    correlation_id="c",
    causation_id="b",
    expires=THEN,
    attributes={"traceparent": "00-1-2-01"},
)


def letter(**changes: object) -> DeadLetter:
    failure = Failure(THEN, 1, "ValueError: no", "Traceback (most recent call last):\n  …\n", "ValueError at a.py:1 f")
    made = DeadLetter(
        id="",
        message=FAILED,
        reason="exhausted",
        source="events.>",
        group="save",
        attempts=(failure, replace(failure, attempt=2)),
        parked=THEN,
        redrives=3,
    )
    return replace(made, **changes)


class Stand:
    """A server that settles, and a box beside it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryTransport(Address("memory://"), clock=self.clock)
        self.box = MemoryTransport(Address("memory://"), clock=self.clock)
        self.channel = LetterChannel(self.server, clock=self.clock)

    async def collect(self) -> list[DeadLetter]:
        await self.channel.collect(self.box, wait=0.01)
        return [replace(letter, id="") async for letter in self.box.letters(LetterFilter())]


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    made = Stand()
    await made.server.open()
    await made.box.open()
    yield made
    await made.server.aclose()
    await made.box.aclose()


@pytest.mark.parametrize(
    "sent",
    [
        letter(),
        letter(source=None, group=None, reason="unrouted", attempts=(), redrives=0),
        letter(message=Message(id="x", channel="a", time=THEN, type="a")),
    ],
)
async def test_a_letter_arrives_whole(stand: Stand, sent: DeadLetter) -> None:
    """What is taken into the box is what was parked: the message as it was published, the reason and every attempt."""
    await stand.channel.park([sent])
    assert [sent] == await stand.collect()


async def test_letters_wait_until_they_are_taken(stand: Stand) -> None:
    """Nobody has to be reading when a letter is parked, and each is taken once."""
    await stand.channel.park([letter(), letter(group="other")])
    assert 2 == await LetterChannel(stand.server, clock=stand.clock).collect(stand.box, wait=0.01)
    assert 0 == await stand.channel.collect(stand.box, wait=0.01)


async def test_the_body_stays_readable_for_others(stand: Stand) -> None:
    """Another program that reads the channel sees the body, its type, the key and the headers of what failed."""
    reader = await stand.server.subscribe(Source(CHANNEL, "others"))
    await stand.channel.park([letter()])
    (got,) = await reader.receive(1)
    read = (got.message.body, got.message.content_type, got.message.key, dict(got.message.headers))
    assert (FAILED.body, FAILED.content_type, FAILED.key, dict(FAILED.headers)) == read


async def test_one_failure_has_one_id(stand: Stand) -> None:
    """A letter that is parked twice, as after a crash, carries the same id; another group's or redrive's does not."""
    reader = await stand.server.subscribe(Source(CHANNEL, "others"))
    same, other = letter(), [letter(group="other"), letter(redrives=4), letter(source="events.paid")]
    await stand.channel.park([same, same, *other])
    ids = [delivery.message.id for delivery in await reader.receive(10)]
    assert (ids[0], 4) == (ids[1], len(set(ids)))


async def test_a_stranger_among_the_letters_is_kept(stand: Stand) -> None:
    """What somebody else published to the channel becomes a dead letter itself, and holds up nobody."""
    await stand.channel.park([letter()])
    hostile = [{LETTER: "{"}, {LETTER: "[]"}, {LETTER: '{"reason":"x","parked":1}'}, {}]
    strangers = [
        Message(id=f"s-{number}", channel=CHANNEL, body=b"?", time=THEN, type=CHANNEL, attributes=attributes)
        for number, attributes in enumerate(hostile)
    ]
    await stand.server.publish([Post(message) for message in strangers])
    *others, good = await stand.collect()  # oldest first: the virtual clock stands before the letter's time
    assert letter() == good
    assert [("undecodable", message, CHANNEL, GROUP) for message in strangers] == [
        (each.reason, each.message, each.source, each.group) for each in others
    ]


@given(
    st.lists(st.tuples(st.text(max_size=50), st.text(min_size=1, max_size=200), st.integers(0, 400)), max_size=12),
    st.sampled_from(["exhausted", "rejected"]),
)
async def test_a_long_history_fits_into_a_header(texts: list[tuple[str, str, int]], reason: str) -> None:
    """However much failed, the letter can be sent: the newest attempts stay longest, and the message is untouched."""
    stand = Stand()
    await stand.server.open()
    attempts = tuple(Failure(THEN, n + 1, error, trace * times) for n, (error, trace, times) in enumerate(texts))
    reader = await stand.server.subscribe(Source(CHANNEL, "others"))
    await stand.channel.park([letter(attempts=attempts, reason=reason)])
    (got,) = await reader.receive(1)
    assert len(quote(got.message.attributes[LETTER])) <= 12_000
    assert from_binary(CHANNEL, to_binary(got.message, percent=True), got.message.body, percent=True) == got.message
    await stand.box.open()
    (kept,) = await stand.collect()
    assert (FAILED, reason) == (kept.message, kept.reason)
    assert kept.attempts == () or kept.attempts[-1].attempt == attempts[-1].attempt
    await stand.server.aclose()
    await stand.box.aclose()
