"""Broadcast: a private copy for each listener, while it lives."""

from __future__ import annotations

from pabal.model.errors import CapabilityError
from pabal.model.transport import Source
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import has, lacks, promise
from pabal.testing.stage import Stage, ids, raised


@promise(has("broadcast"))
async def every_listener_gets_a_copy(stage: Stage) -> None:
    """Every listener gets a copy of each message, on one connection or several."""
    transport, other, channel = await stage.connect(), await stage.connect(), stage.channel("news")
    listeners = [await stage.subscribe(each, channel) for each in (transport, transport, other)]
    messages = stage.messages(channel, 40)
    await stage.publish(transport, messages)
    for listener in listeners:
        expect_each_once(ids(await listener.handle(40)), ids(messages), "what a listener gets")
    await stage.expect_nothing_else(transport, *listeners)


@promise(has("broadcast", "groups"))
async def listeners_take_nothing_from_groups(stage: Stage) -> None:
    """Groups and listeners of one channel get each message, neither taking it from the other."""
    transport, channel = await stage.connect(), stage.channel("both")
    readers = [await stage.subscribe(transport, channel, group) for group in (None, "save", None, "audit")]
    messages = stage.messages(channel, 30)
    await stage.publish(await stage.connect(), messages)
    for reader in readers:
        expect_each_once(ids(await reader.handle(30)), ids(messages), "what each reader gets")
    await stage.expect_nothing_else(transport, *readers)


@promise(has("broadcast"))
async def later_listener_missed_the_earlier(stage: Stage) -> None:
    """A listener gets nothing from before it came, and the others are not disturbed by its coming."""
    transport, channel = await stage.connect(), stage.channel("news")
    early = await stage.subscribe(transport, channel)
    before, after = stage.messages(channel, 5), stage.messages(channel, 5)
    await stage.publish(transport, before)
    late = await stage.subscribe(await stage.connect(), channel)
    await stage.publish(transport, after)
    expect_each_once(ids(await late.handle(5)), ids(after), "what the later listener gets")
    expect_each_once(ids(await early.handle(10)), ids(before + after), "what the earlier listener gets")
    await stage.expect_nothing_else(transport, late)


@promise(has("broadcast"))
async def closed_listener_is_gone(stage: Stage) -> None:
    """What a closed listener had not handled ends with it: no other reader gets it, nobody counts it."""
    transport, channel = await stage.connect(), stage.channel("news")
    leaving = await stage.subscribe(transport, channel)
    staying = await stage.subscribe(await stage.connect(), channel)
    messages = stage.messages(channel, 10)
    await stage.publish(transport, messages)
    await leaving.take(3)
    await leaving.close()
    expect_each_once(ids(await staying.handle(10)), ids(messages), "what the staying listener gets")
    more = stage.messages(channel, 1)
    receipts = await stage.publish(transport, more)
    if stage.capabilities.counts_receivers:
        expect(receipts[0].receivers, 1, "the receivers after one of two listeners closed")
    expect_each_once(ids(await staying.handle(1)), ids(more), "what the staying listener gets")
    await stage.expect_nothing_else(transport, staying)
    if stage.capabilities.parks:
        expect(await stage.letters(transport, channel), [], "the dead letters of a closed listener")


@promise(lacks("broadcast"))
async def listener_is_refused(stage: Stage) -> None:
    """A transport without broadcast refuses a subscription without a group."""
    transport = await stage.connect()
    error = await raised(transport.subscribe, Source(stage.channel("none")))
    expect_that(isinstance(error, CapabilityError), "subscribing without a group to raise CapabilityError", error)
