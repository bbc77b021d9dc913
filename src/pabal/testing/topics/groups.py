"""Groups: every group gets each message, its members divide them."""

from __future__ import annotations

import asyncio

from pabal.model.errors import CapabilityError
from pabal.model.outcome import ACKED
from pabal.model.transport import Source
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, lacks, promise
from pabal.testing.stage import Stage, ids, raised


@promise(has("groups"))
async def every_group_gets_all(stage: Stage) -> None:
    """Every group of a channel gets each message once."""
    transport, other, channel = await stage.connect(), await stage.connect(), stage.channel("all")
    readers = {name: await stage.subscribe(other, channel, name) for name in ("audit", "save", "mail.out_1-b")}
    messages = stage.messages(channel, 60)
    await stage.publish(transport, messages)
    for name, reader in readers.items():
        expect_each_once(ids(await reader.handle(60)), ids(messages), f"what group {name} gets")
    await stage.expect_nothing_else(transport, *readers.values())


@promise(has("groups"))
async def same_name_on_other_channel_is_another_group(stage: Stage) -> None:
    """A group's identity is its channel and its name: one name on two channels are two groups."""
    transport, here, there = await stage.connect(), stage.channel("here"), stage.channel("there")
    readers = [await stage.subscribe(transport, channel, "same") for channel in (here, there)]
    sent = [stage.messages(channel, 10) for channel in (here, there)]
    await stage.publish(transport, sent[0] + sent[1])
    for reader, messages in zip(readers, sent, strict=True):
        expect_each_once(ids(await reader.handle(10)), ids(messages), f"what the group on {reader.channel} gets")
        await stage.expect_nothing_else(transport, reader)


@promise(has("groups"), SETTLES_EACH)
async def slow_member_does_not_hoard(stage: Stage) -> None:
    """A member that takes nothing holds no more than its window: the others get the rest."""
    transport, channel = await stage.connect(), stage.channel("slow")
    slow = await stage.subscribe(transport, channel, "members", window=5)
    messages = stage.messages(channel, 50)
    await stage.publish(transport, messages)
    quick = await stage.subscribe(await stage.connect(), channel, "members", window=5)
    got = await quick.handle(45)
    await slow.close()
    got += await quick.handle(5)
    expect_each_once(ids(got), ids(messages), "the messages")


@promise(has("groups"), SETTLES_EACH)
async def resized_window_holds(stage: Stage) -> None:
    """After resize a member holds no more than its new window, and with a larger one it gets on as before."""
    transport, channel = await stage.connect(), stage.channel("resized")
    slow = await stage.subscribe(transport, channel, "members", window=50)
    slow.subscription.resize(2)
    messages = stage.messages(channel, 50)
    await stage.publish(transport, messages)
    quick = await stage.subscribe(await stage.connect(), channel, "members", window=5)
    got = await quick.handle(48)
    await quick.close()
    slow.subscription.resize(40)
    got += await slow.handle(2)
    more = stage.messages(channel, 50)
    await stage.publish(transport, more)
    got += await slow.handle(50)
    expect_each_once(ids(got), ids(messages + more), "the messages")


@promise(has("groups"), SETTLES_EACH)
async def window_of_zero_takes_nothing(stage: Stage) -> None:
    """A member with a window of 0 leaves all to the others, even while it waits, until it is resized."""
    transport, channel = await stage.connect(), stage.channel("idle")
    idle = await stage.subscribe(transport, channel, "members", window=0)
    quick = await stage.subscribe(await stage.connect(), channel, "members", window=5)
    messages = stage.messages(channel, 30)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(idle.subscription.receive(10), name="receive with a window of 0")
        await asyncio.sleep(0)
        await stage.publish(transport, messages[:20])
        got = await quick.handle(20)
        expect(waiting.done(), False, "the end of a receive with a window of 0")
        await quick.close()
        await stage.publish(transport, messages[20:])
        idle.subscription.resize(10)
        async with stage.within("a delivery once the window is no longer 0"):
            woken = list(await waiting)
    await idle.done(woken, ACKED)
    got += woken + await idle.handle(10 - len(woken))
    expect_each_once(ids(got), ids(messages), "the messages")


@promise(has("groups"), SETTLES_EACH)
async def resize_to_zero_gives_back(stage: Stage) -> None:
    """Resizing to 0 gives back what a member held ready, uncounted; what it has in hand stays its own."""
    transport, channel = await stage.connect(), stage.channel("emptied")
    idle = await stage.subscribe(transport, channel, "members", window=20)
    messages = stage.messages(channel, 20)
    await stage.publish(transport, messages)
    in_hand = await idle.take(3)
    idle.subscription.resize(0)
    quick = await stage.subscribe(await stage.connect(), channel, "members", window=5)
    got = await quick.handle(17)
    if stage.capabilities.counts_attempts:
        expect({delivery.attempt for delivery in got}, {1}, "the attempts of what was held ready")
    await idle.done(in_hand, ACKED)
    expect_each_once(ids(in_hand + got), ids(messages), "the messages")
    await stage.expect_nothing_else(transport, quick)


@promise(has("groups"), SETTLES_EACH)
async def joining_member_shares(stage: Stage) -> None:
    """A member that joins gets its share, and what the earlier member has in hand stays there."""
    transport, channel = await stage.connect(), stage.channel("joining")
    first = await stage.subscribe(transport, channel, "members", window=3)
    messages = stage.messages(channel, 40)
    await stage.publish(transport, messages)
    in_hand = await first.take(5)
    second = await stage.subscribe(await stage.connect(), channel, "members", window=3)
    got = await second.handle(32)
    await first.done(in_hand, ACKED)
    await first.close()
    got += await second.handle(3)
    expect_each_once(ids(in_hand + got), ids(messages), "the messages")
    await stage.expect_nothing_else(transport, second)


@promise(has("groups"), SETTLES_EACH)
async def group_keeps_its_backlog(stage: Stage) -> None:
    """A group gets what was published while none of its members was there."""
    transport, channel = await stage.connect(), stage.channel("backlog")
    reader = await stage.subscribe(transport, channel, "sleepers")
    await reader.close()
    messages = stage.messages(channel, 20)
    await stage.publish(transport, messages)
    reader = await stage.subscribe(await stage.connect(), channel, "sleepers")
    expect_each_once(ids(await reader.handle(20)), ids(messages), "the backlog")


@promise(has("groups"), lacks("replays"))
async def later_group_gets_what_comes_later(stage: Stage) -> None:
    """A further group gets what is published after it came, not what another group had before."""
    transport, channel = await stage.connect(), stage.channel("later")
    first = await stage.subscribe(transport, channel, "first")
    before, after = stage.messages(channel, 5), stage.messages(channel, 5)
    await stage.publish(transport, before)
    later = await stage.subscribe(transport, channel, "later")
    await stage.publish(transport, after)
    expect_each_once(ids(await later.handle(5)), ids(after), "what the later group gets")
    expect_each_once(ids(await first.handle(10)), ids(before + after), "what the first group gets")
    await stage.expect_nothing_else(transport, later)


@promise(lacks("groups"))
async def group_is_refused(stage: Stage) -> None:
    """A transport without groups refuses a subscription with one."""
    transport = await stage.connect()
    error = await raised(transport.subscribe, Source(stage.channel("none"), "members"))
    expect_that(isinstance(error, CapabilityError), "subscribing with a group to raise CapabilityError", error)


@promise(has("groups"), lacks("replays"))
async def start_is_refused(stage: Stage) -> None:
    """A transport that keeps no log refuses a subscription that chooses its start."""
    transport = await stage.connect()
    error = await raised(transport.subscribe, Source(stage.channel("none"), "members", start="oldest"))
    expect_that(isinstance(error, CapabilityError), "subscribing with start='oldest' to raise CapabilityError", error)
    error = await raised(transport.subscribe, Source(stage.channel("none"), "members", start=stage.now()))
    expect_that(isinstance(error, CapabilityError), "subscribing with a time to start raising CapabilityError", error)


@promise(has("groups", "replays"))
async def start_is_kept(stage: Stage) -> None:
    """A group that starts at the oldest gets all there is; one that starts at new gets what comes later."""
    transport, channel = await stage.connect(), stage.channel("log")
    first = await stage.subscribe(transport, channel, "first")
    before, after = stage.messages(channel, 5), stage.messages(channel, 5)
    await stage.publish(transport, before)
    oldest = await stage.subscribe(transport, channel, "oldest", start="oldest")
    new = await stage.subscribe(transport, channel, "new", start="new")
    await stage.publish(transport, after)
    expect_each_once(ids(await oldest.handle(10)), ids(before + after), "what the group from the oldest gets")
    expect_each_once(ids(await new.handle(5)), ids(after), "what the group from now on gets")
    expect_each_once(ids(await first.handle(10)), ids(before + after), "what the first group gets")
    await stage.expect_nothing_else(transport, new)
