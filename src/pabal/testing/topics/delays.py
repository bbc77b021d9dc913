"""Delays: nothing comes before its time, and everything comes at it."""

from __future__ import annotations

from pabal.model.errors import CapabilityError
from pabal.model.outcome import ACKED, Retried
from pabal.model.transport import Delivery, Post, Transport
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, lacks, promise
from pabal.testing.stage import Reader, Stage, ids

DELAY = 1.0
EARLY = 0.05
"""Seconds by which a server's clock may differ from ours."""


async def _comes_at(stage: Stage, transport: Transport, reader: Reader, due: float) -> Delivery:
    """The next delivery, which may not come before `due` (seconds since the epoch)."""
    await stage.expect_nothing_else(transport, reader)
    await stage.pass_time((due - stage.subject.clock.time()) * 0.9)
    if stage.subject.clock.time() < due - EARLY:
        await stage.expect_nothing_else(transport, reader)
    await stage.pass_time(max(0.0, due - stage.subject.clock.time()) + 0.001)
    delivery = await reader.one()
    early = due - stage.subject.clock.time()
    expect_that(early <= EARLY, "the delivery not before its time", f"{early:.3f} s too early")
    return delivery


@promise(has("groups", "delays_retry"), SETTLES_EACH)
async def retry_waits_for_its_delay(stage: Stage) -> None:
    """A retried message comes again after its delay, not before, and holds up no other message."""
    transport, channel = await stage.connect(), stage.channel("retried")
    reader = await stage.subscribe(transport, channel, "readers")
    messages = stage.messages(channel, 1)
    await stage.publish(transport, messages)
    due = stage.subject.clock.time() + DELAY
    await reader.done([await reader.one()], Retried(DELAY, stage.failure(1, "later")))
    again = await _comes_at(stage, transport, reader, due)
    expect(again.message.id, messages[0].id, "what comes after the delay")
    if stage.capabilities.counts_attempts:
        expect(again.attempt, 2, "the attempt")
    await reader.done([again], ACKED)


@promise(has("groups", "delays_retry"), SETTLES_EACH)
async def retry_outlives_its_reader(stage: Stage) -> None:
    """A message that waits for its retry comes to whoever of the group is there by then."""
    transport, channel = await stage.connect(), stage.channel("retried")
    reader = await stage.subscribe(transport, channel, "readers")
    messages = stage.messages(channel, 1)
    await stage.publish(transport, messages)
    due = stage.subject.clock.time() + DELAY
    await reader.done([await reader.one()], Retried(DELAY))
    await reader.close()
    reader = await stage.subscribe(await stage.connect(), channel, "readers")
    again = await _comes_at(stage, transport, reader, due)
    expect(again.message.id, messages[0].id, "what comes after the delay")


@promise(has("groups"), SETTLES_EACH, lacks("delays_retry"))
async def undelayed_retry_is_not_lost(stage: Stage) -> None:
    """Where the transport cannot delay a retry, one with a delay comes again at once: it is not lost."""
    transport, channel = await stage.connect(), stage.channel("retried")
    reader = await stage.subscribe(transport, channel, "readers")
    messages = stage.messages(channel, 1)
    await stage.publish(transport, messages)
    await reader.done([await reader.one()], Retried(DELAY))
    expect((await reader.one()).message.id, messages[0].id, "what comes again")


@promise(has("groups", "delays_publish"))
async def delayed_publish_waits(stage: Stage) -> None:
    """A delayed message comes at its time, not before, and holds up no other message."""
    transport, channel = await stage.connect(), stage.channel("delayed")
    reader = await stage.subscribe(transport, channel, "readers")
    messages = stage.messages(channel, 1)
    due = stage.subject.clock.time() + DELAY
    await stage.publish(await stage.connect(), messages, due=due)
    delivery = await _comes_at(stage, transport, reader, due)
    expect(delivery.message.id, messages[0].id, "what comes at its time")
    expect(delivery.attempt, 1, "the attempt")
    await reader.done([delivery], ACKED)


@promise(has("broadcast", "delays_publish"))
async def delayed_copy_waits(stage: Stage) -> None:
    """A delayed message comes to a listener at its time, not before."""
    transport, channel = await stage.connect(), stage.channel("delayed")
    listener = await stage.subscribe(transport, channel)
    messages = stage.messages(channel, 1)
    due = stage.subject.clock.time() + DELAY
    await stage.publish(await stage.connect(), messages, due=due)
    expect((await _comes_at(stage, transport, listener, due)).message.id, messages[0].id, "what comes at its time")


@promise(has("groups", "delays_publish"))
async def delays_come_in_their_own_time(stage: Stage) -> None:
    """Messages with different delays, published in any order, come each at its own time; one that is past at once."""
    transport, channel = await stage.connect(), stage.channel("delayed")
    reader = await stage.subscribe(transport, channel, "readers")
    start = stage.subject.clock.time()
    delays = [0.75, 0.25, 1.0, 0.5]
    messages = stage.messages(channel, 5)
    await stage.post(transport, [Post(m, due=start + d) for m, d in zip(messages, [*delays, -60.0], strict=True)])
    expect(ids(await reader.handle(1)), [messages[4].id], "what comes at once")
    for delay, message in sorted(zip(delays, messages, strict=False)):
        delivery = await _comes_at(stage, transport, reader, start + delay)
        expect(delivery.message.id, message.id, f"what comes after {delay} s")
        await reader.done([delivery], ACKED)


@promise(has("groups", "settles", "delays_publish"))
async def delayed_publish_outlives_its_readers(stage: Stage) -> None:
    """A delayed message reaches the groups of its publishing, even when no member of them was there meanwhile."""
    transport, channel = await stage.connect(), stage.channel("delayed")
    reader = await stage.subscribe(transport, channel, "readers")
    messages = stage.messages(channel, 10)
    due = stage.subject.clock.time() + DELAY
    await stage.publish(transport, messages, due=due)
    await reader.close()
    await stage.pass_time(DELAY * 1.5)
    reader = await stage.subscribe(transport, channel, "readers")
    expect_each_once(ids(await reader.handle(10)), ids(messages), "the delayed messages")


@promise(lacks("delays_publish"))
async def delayed_publish_is_refused(stage: Stage) -> None:
    """Where publishing cannot wait, a delayed message gets a CapabilityError in its receipt; the others are taken."""
    transport, channel = await stage.connect(), stage.channel("delayed")
    reader = await stage.subscribe(transport, channel, "readers" if stage.capabilities.groups else None)
    late, now = stage.messages(channel, 2)
    receipts = await transport.publish([Post(late, due=stage.subject.clock.time() + DELAY), Post(now)])
    expect([receipt.id for receipt in receipts], [late.id, now.id], "the receipts' ids")
    expect_that(isinstance(receipts[0].error, CapabilityError), "a CapabilityError in its receipt", receipts[0].error)
    expect(receipts[1].error, None, "the error of the message without delay")
    expect(ids(await reader.handle(1)), [now.id], "what is delivered")
    await stage.expect_nothing_else(transport, reader)
