"""Durability: a restart of everything loses nothing."""

from __future__ import annotations

from pabal.model.outcome import ACKED, Rejected, Retried
from pabal.model.transport import Post
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, promise
from pabal.testing.stage import Stage, ids

DELAY = 2.0


@promise(has("durable", "groups"), SETTLES_EACH)
async def backlog_outlives_a_restart(stage: Stage) -> None:
    """What was ready, held, in hand or retried before a restart of everything comes after it, with its history."""
    transport, channel = await stage.connect(), stage.channel("restarted")
    reader = await stage.subscribe(transport, channel, "members", window=4)
    messages = stage.messages(channel, 20)
    await stage.publish(transport, messages)
    done, in_hand, retried = await reader.take(3), await reader.take(3), await reader.take(3)
    await reader.done(done, ACKED)
    failure = stage.failure(1, "before the restart")
    await reader.done(retried, Retried(0.0, failure))
    await stage.restart()
    transport = await stage.connect()
    reader = await stage.subscribe(transport, channel, "members")
    got = await reader.handle(17)
    expect_each_once(ids(done + got), ids(messages), "the messages")
    expect_that(set(ids(in_hand)) <= set(ids(got)), "what was in hand to come again", ids(got))
    for delivery in got:
        again = delivery.message.id in ids(retried)
        if stage.capabilities.counts_attempts:
            expect(
                delivery.attempt,
                2 if again else 1,
                f"the attempt of a message that was {'' if again else 'not '}retried",
            )
        if stage.capabilities.keeps_history:
            expect(delivery.errors, (failure,) if again else (), "the failures after the restart")
    await stage.expect_nothing_else(transport, reader)


@promise(has("durable", "groups", "delays_publish", "delays_retry"), SETTLES_EACH)
async def delays_outlive_a_restart(stage: Stage) -> None:
    """What was delayed, at publish or by a retry, comes after a restart of everything, and not before its time."""
    transport, channel = await stage.connect(), stage.channel("restarted")
    reader = await stage.subscribe(transport, channel, "members")
    published, retried = stage.messages(channel, 2)
    await stage.publish(transport, [retried])
    got = await reader.one()
    start = stage.subject.clock.time()
    await stage.post(transport, [Post(published, due=start + DELAY)])
    await reader.done([got], Retried(DELAY, stage.failure(1, "later")))
    await stage.restart()
    transport = await stage.connect()
    reader = await stage.subscribe(transport, channel, "members")
    if stage.subject.clock.time() < start + DELAY:
        await stage.expect_nothing_else(transport, reader)
    await stage.pass_time(DELAY + 0.001)
    expect_each_once(ids(await reader.handle(2)), ids([published, retried]), "the delayed messages")


@promise(has("durable", "groups"), SETTLES_EACH)
async def group_outlives_a_restart(stage: Stage) -> None:
    """A group gets what is published after a restart of everything, before any member of it is back."""
    transport, channel = await stage.connect(), stage.channel("restarted")
    await stage.subscribe(transport, channel, "members")
    await stage.restart()
    transport = await stage.connect()
    messages = stage.messages(channel, 5)
    receipts = await stage.publish(transport, messages)
    if stage.capabilities.counts_receivers:
        expect({receipt.receivers for receipt in receipts}, {1}, "the receivers")
    reader = await stage.subscribe(transport, channel, "members")
    expect_each_once(ids(await reader.handle(5)), ids(messages), "what the group gets")


@promise(has("durable", "parks", "groups"), SETTLES_EACH)
async def dead_letters_outlive_a_restart(stage: Stage) -> None:
    """Dead letters are the same after a restart of everything."""
    transport, channel = await stage.connect(), stage.channel("restarted")
    reader = await stage.subscribe(transport, channel, "members")
    await stage.publish(transport, stage.messages(channel, 3, key="k"))
    await reader.done(await reader.take(3), Rejected("rejected", stage.failure(1, "never")))
    before = await stage.letters(transport, channel)
    expect(len(before), 3, "the number of dead letters")
    await stage.restart()
    expect(await stage.letters(await stage.connect(), channel), before, "the dead letters after the restart")
