"""Dead letters of ordered groups: what becomes of the later messages of their keys."""

from __future__ import annotations

import asyncio
from typing import get_args

from pabal.model.dead import HOLDING, DeadLetter
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Reason, Rejected
from pabal.model.transport import Delivery, Transport
from pabal.testing.broken import expect, expect_each_once
from pabal.testing.promise import ORDER_BY_KEY, SETTLES_EACH, has, promise
from pabal.testing.stage import Reader, Stage, administers, ids, parks

REASONS: list[Reason] = [reason for reason in get_args(Reason) if reason in HOLDING]


def _keyed(stage: Stage, channel: str, key: str, numbers: int = 3) -> list[Message]:
    return [stage.message(channel, f"{key}-{number}".encode(), key=key) for number in range(numbers)]


async def _died(stage: Stage, transport: Transport, reader: Reader, messages: list[Message]) -> DeadLetter:
    """The dead letter of the first of a key's messages, which are published."""
    await stage.publish(transport, messages)
    first = await reader.one()
    expect(first.message.id, messages[0].id, "the first of its key")
    await reader.done([first], Rejected("rejected", stage.failure(1, "never")))
    (letter,) = await stage.letters(transport, reader.channel)
    return letter


async def _in_order(reader: Reader, messages: list[Message]) -> None:
    got: list[Delivery] = [delivery for _ in messages for delivery in await reader.handle(1)]
    expect(ids(got), ids(messages), "the messages of a key in their order")


@promise(has("groups", "parks"), SETTLES_EACH, ORDER_BY_KEY)
async def dead_letter_parks_its_key(stage: Stage) -> None:
    """What follows a dead letter of its key waits, at whatever member; other keys, and what has none, go on."""
    transport, channel = await stage.connect(), stage.channel("parked")
    reader = await stage.subscribe(transport, channel, "ordered", ordered=True)
    lines = {reason: _keyed(stage, channel, reason) for reason in REASONS}
    others = [*_keyed(stage, channel, "other"), *stage.messages(channel, 2)]
    await stage.publish(transport, [message for line in lines.values() for message in line] + others)
    handled: list[Delivery] = []
    while len(handled) < len(REASONS) + len(others):
        for delivery in await reader.some(10):
            reason = next((reason for reason in REASONS if delivery.message.key == reason), None)
            outcome = ACKED if reason is None else Rejected(reason, stage.failure(1, "never"))
            await reader.done([delivery], outcome)
            handled.append(delivery)
    expect_each_once(ids(handled), ids([*(line[0] for line in lines.values()), *others]), "what does not wait")
    await stage.expect_nothing_else(transport, reader)
    await reader.close()
    other = await stage.connect()
    await stage.expect_nothing_else(other, await stage.subscribe(other, channel, "ordered", ordered=True))
    if stage.capabilities.administers:
        await _seen_waiting(stage, other, 2 * len(REASONS), channel)


async def _seen_waiting(stage: Stage, transport: Transport, count: int, channel: str) -> None:
    async with stage.within(f"{count} messages to be seen waiting behind the dead letters of their keys"):
        while True:
            (status,) = [each for each in await administers(transport).groups() if each.source == channel]
            if (status.ready, status.waiting) == (0, count):
                return
            await asyncio.sleep(0.01)


@promise(has("groups", "parks"), SETTLES_EACH, ORDER_BY_KEY)
async def redriven_goes_first(stage: Stage) -> None:
    """A dead letter that is redriven comes before what waits behind it, though it dies again; the rest follows."""
    transport, other, channel = await stage.connect(), await stage.connect(), stage.channel("redriven")
    reader = await stage.subscribe(transport, channel, "ordered", ordered=True)
    messages = _keyed(stage, channel, "one", 5)
    await _died(stage, transport, reader, messages)
    for redrive, outcome in ((1, Rejected("exhausted", stage.failure(1, "still never"))), (2, ACKED)):
        await stage.expect_nothing_else(transport, reader)
        (letter,) = await stage.letters(transport, channel)
        expect((await parks(other).redrive([letter.id]))[0].error, None, "the error of the redrive")
        again = await reader.one()
        expect((again.message.id, again.redrive), (messages[0].id, redrive), "what comes first, and its redrive")
        await reader.done([again], outcome)
    await _in_order(reader, messages[1:])
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups", "parks"), SETTLES_EACH, ORDER_BY_KEY)
async def discarded_letter_frees_its_key(stage: Stage) -> None:
    """Once a dead letter is discarded, what waits behind it goes on, in order, before what is published then."""
    transport, other, channel = await stage.connect(), await stage.connect(), stage.channel("discarded")
    reader = await stage.subscribe(transport, channel, "ordered", ordered=True)
    messages = _keyed(stage, channel, "one", 5)
    letter = await _died(stage, transport, reader, messages[:4])
    await stage.expect_nothing_else(transport, reader)
    expect(await parks(other).discard([letter.id]), 1, "how many were discarded")
    await stage.publish(transport, messages[4:])
    await _in_order(reader, messages[1:])
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups", "parks"), SETTLES_EACH, ORDER_BY_KEY)
async def key_continues_where_asked(stage: Stage) -> None:
    """With on_dead="continue" the later messages of a key whose message died go on in order; a redrive comes, too."""
    transport, channel = await stage.connect(), stage.channel("continued")
    reader = await stage.subscribe(transport, channel, "ordered", ordered=True, on_dead="continue")
    messages = _keyed(stage, channel, "one", 4)
    letter = await _died(stage, transport, reader, messages)
    await _in_order(reader, messages[1:])
    await parks(transport).redrive([letter.id])
    await _in_order(reader, messages[:1])
    await stage.expect_nothing_else(transport, reader)
