"""How deliveries end, and what comes of each ending."""

from __future__ import annotations

from pabal.model.capabilities import Settles
from pabal.model.outcome import ACKED, RELEASED, Outcome, Rejected, Retried, Settlement
from pabal.model.transport import Settled
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, lacks, promise
from pabal.testing.stage import Stage, ids


@promise(has("groups"), SETTLES_EACH)
async def settling_answers_each_in_order(stage: Stage) -> None:
    """A batch of all outcomes is settled in one call: one settlement each, in order, and each outcome is kept."""
    transport, channel = await stage.connect(), stage.channel("mixed")
    reader = await stage.subscribe(transport, channel, "readers")
    await stage.publish(transport, stage.messages(channel, 8))
    got = await reader.take(8)
    failure = stage.failure(1, "no")
    outcomes: list[Outcome] = [ACKED, Retried(0.0, failure), RELEASED, Rejected("rejected", failure)] * 2
    settlements = await reader.settle_each([Settled(d, o) for d, o in zip(got, outcomes, strict=True)])
    expect(settlements, [Settlement.DONE] * 8, "the settlements")
    again = await reader.handle(4)
    expect_each_once(ids(again), ids([got[1], got[2], got[5], got[6]]), "the retried and released messages")
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups"), SETTLES_EACH)
async def acked_is_done(stage: Stage) -> None:
    """What was acked is not delivered again, not even to a member that comes after all others closed."""
    transport, channel = await stage.connect(), stage.channel("acked")
    reader = await stage.subscribe(transport, channel, "readers")
    messages = stage.messages(channel, 20)
    await stage.publish(transport, messages)
    expect_each_once(ids(await reader.handle(20)), ids(messages), "the messages")
    await reader.close()
    reader = await stage.subscribe(await stage.connect(), channel, "readers")
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups", "settles"))
async def acked_prefix_is_done(stage: Stage) -> None:
    """After the first 7 of 20 were acked and the reader closed, the other 13 come again and no others."""
    transport, channel = await stage.connect(), stage.channel("prefix")
    reader = await stage.subscribe(transport, channel, "readers")
    messages = stage.messages(channel, 20, key="one")
    await stage.publish(transport, messages)
    got = await reader.take(20)
    await reader.done(got[:7], ACKED)
    await reader.close()
    reader = await stage.subscribe(await stage.connect(), channel, "readers")
    expect_each_once(ids(await reader.handle(13)), ids(got[7:]), "the messages that were not acked")
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups"), SETTLES_EACH)
async def settled_twice_is_lost(stage: Stage) -> None:
    """Settling a delivery a second time says LOST and changes nothing."""
    transport, channel = await stage.connect(), stage.channel("twice")
    reader = await stage.subscribe(transport, channel, "readers")
    await stage.publish(transport, stage.messages(channel, 1))
    got = await reader.handle(1)
    expect(await reader.settle(got, Retried(0.0)), [Settlement.LOST], "the second settlement of a delivery")
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups"), SETTLES_EACH)
async def retried_comes_again(stage: Stage) -> None:
    """A retried message comes again, to its group alone, however often it is retried."""
    transport, channel = await stage.connect(), stage.channel("retried")
    reader = await stage.subscribe(transport, channel, "failing")
    healthy = await stage.subscribe(transport, channel, "healthy")
    messages = stage.messages(channel, 3)
    await stage.publish(transport, messages)
    expect_each_once(ids(await healthy.handle(3)), ids(messages), "what the healthy group gets")
    for attempt in range(1, 11):
        got = await reader.take(3)
        expect_each_once(ids(got), ids(messages), f"what comes for attempt {attempt}")
        await reader.done(got, Retried(0.0, stage.failure(attempt, "not yet")))
    await reader.handle(3)
    await stage.expect_nothing_else(transport, reader, healthy)


@promise(has("groups", "counts_attempts"), SETTLES_EACH)
async def attempts_are_counted(stage: Stage) -> None:
    """The first delivery is attempt 1, and each retry counts one more."""
    transport, channel = await stage.connect(), stage.channel("counted")
    reader = await stage.subscribe(transport, channel, "readers")
    await stage.publish(transport, stage.messages(channel, 1))
    for attempt in range(1, 8):
        delivery = await reader.one()
        expect(delivery.attempt, attempt, "the attempt")
        await reader.done([delivery], Retried(0.0, stage.failure(attempt, "not yet")))


@promise(has("groups"), SETTLES_EACH, lacks("counts_attempts"))
async def uncounted_attempts_do_not_fall(stage: Stage) -> None:
    """Where attempts are not counted they are still at least 1 and never fall."""
    transport, channel = await stage.connect(), stage.channel("uncounted")
    reader = await stage.subscribe(transport, channel, "readers")
    await stage.publish(transport, stage.messages(channel, 1))
    before = 1
    for _ in range(4):
        delivery = await reader.one()
        expect_that(delivery.attempt >= before, f"the attempt to be {before} or more", delivery.attempt)
        before = delivery.attempt
        await reader.done([delivery], Retried(0.0))


@promise(has("groups", "keeps_history"), SETTLES_EACH)
async def failures_are_kept(stage: Stage) -> None:
    """Each delivery has the failures so far, whole and in order; giving back and acking others add none."""
    transport, channel = await stage.connect(), stage.channel("history")
    reader = await stage.subscribe(transport, channel, "readers")
    await stage.publish(transport, stage.messages(channel, 1))
    failures = [stage.failure(attempt, f"failure {attempt} — 실패") for attempt in range(1, 6)]
    for number, failure in enumerate(failures):
        delivery = await reader.one()
        expect(list(delivery.errors), failures[:number], "the failures so far")
        await reader.done([delivery], RELEASED)
        delivery = await reader.one()
        expect(list(delivery.errors), failures[:number], "the failures after giving back")
        await reader.done([delivery], Retried(0.0, failure))
    expect(list((await reader.one()).errors), failures, "the failures at the end")


@promise(has("groups"), SETTLES_EACH, lacks("keeps_history"))
async def unkept_failures_are_absent(stage: Stage) -> None:
    """Where no history is kept, a delivery has no failures at all rather than a part of them."""
    transport, channel = await stage.connect(), stage.channel("history")
    reader = await stage.subscribe(transport, channel, "readers")
    await stage.publish(transport, stage.messages(channel, 1))
    for attempt in range(1, 4):
        delivery = await reader.one()
        expect(delivery.errors, (), "the failures")
        await reader.done([delivery], Retried(0.0, stage.failure(attempt, "not kept")))


@promise(has("groups"), SETTLES_EACH)
async def rejected_ends(stage: Stage) -> None:
    """A rejected message does not come again, and other groups still get it."""
    transport, channel = await stage.connect(), stage.channel("rejected")
    reader = await stage.subscribe(transport, channel, "strict")
    lenient = await stage.subscribe(transport, channel, "lenient")
    messages = stage.messages(channel, 5)
    await stage.publish(transport, messages)
    await reader.done(await reader.take(5), Rejected("rejected", stage.failure(1, "never")))
    expect_each_once(ids(await lenient.handle(5)), ids(messages), "what the other group gets")
    await stage.expect_nothing_else(transport, reader, lenient)


@promise(has("groups"), SETTLES_EACH)
async def released_comes_back_uncounted(stage: Stage) -> None:
    """What was given back comes again, and that was no attempt."""
    transport, channel = await stage.connect(), stage.channel("released")
    reader = await stage.subscribe(transport, channel, "readers")
    messages = stage.messages(channel, 4)
    await stage.publish(transport, messages)
    for _ in range(5):
        got = await reader.take(4)
        expect_each_once(ids(got), ids(messages), "the released messages")
        if stage.capabilities.counts_attempts:
            expect({delivery.attempt for delivery in got}, {1}, "the attempts of what was given back")
        await reader.done(got, RELEASED)
    await reader.done(await reader.take(4), Retried(0.0))
    got = await reader.take(4)
    if stage.capabilities.counts_attempts:
        expect({delivery.attempt for delivery in got}, {2}, "the attempts after five releases and one retry")
    await reader.done(got, ACKED)


@promise(has("groups"), lacks("settles"))
async def unsettled_transport_forgets(stage: Stage) -> None:
    """Where nothing is settled there is no lease, and whatever the outcome, a delivery does not come again."""
    transport, channel = await stage.connect(), stage.channel("once")
    reader = await stage.subscribe(transport, channel, "readers")
    expect(reader.subscription.lease, None, "the lease")
    await stage.publish(transport, stage.messages(channel, 3))
    got = await reader.take(3)
    outcomes: list[Outcome] = [RELEASED, Retried(0.0), ACKED]
    await reader.settle_each([Settled(d, o) for d, o in zip(got, outcomes, strict=True)])
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups"), has("settles"))
async def partial_settling_is_each_or_cumulative(stage: Stage) -> None:
    """Of five deliveries of one key the third alone is acked: EACH ends it alone, CUMULATIVE ends the first three."""
    transport, channel = await stage.connect(), stage.channel("third")
    reader = await stage.subscribe(transport, channel, "readers")
    await stage.publish(transport, stage.messages(channel, 5, key="one"))
    got = await reader.take(5)
    await reader.done([got[2]], ACKED)
    await reader.close()
    reader = await stage.subscribe(transport, channel, "readers")
    ended = got[2:3] if stage.capabilities.settles is Settles.EACH else got[:3]
    back = [delivery for delivery in got if delivery not in ended]
    expect_each_once(ids(await reader.handle(len(back))), ids(back), "what was not ended")
    await stage.expect_nothing_else(transport, reader)
