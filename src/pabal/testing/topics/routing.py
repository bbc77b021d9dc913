"""Who gets a message, and what the publisher is told about it."""

from __future__ import annotations

from pabal.model.errors import PabalError
from pabal.model.outcome import ACKED
from pabal.model.transport import GroupId, Post
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, lacks, promise
from pabal.testing.stage import Stage, ids


@promise(has("counts_receivers", "groups"))
async def receivers_are_counted(stage: Stage) -> None:
    """The receipt tells how many groups and listeners take the message; members of one group count once."""
    transport, other, channel = await stage.connect(), await stage.connect(), stage.channel("counted")
    expected = 0
    for group, more in (("save", 1), ("save", 0), (None, 1), ("audit", 1), (None, 1)):
        if group is None and not stage.capabilities.broadcast:
            continue
        await stage.subscribe(transport, channel, group)
        expected += more
        receipts = await stage.publish(other, stage.messages(channel, 2))
        expect([receipt.receivers for receipt in receipts], [expected] * 2, "the receivers")
    elsewhere = await stage.publish(other, [stage.message(stage.channel("elsewhere"))])
    expect(elsewhere[0].receivers, 0, "the receivers of a channel that nobody reads")


@promise(lacks("counts_receivers"), has("groups"))
async def uncounted_receivers_are_unknown(stage: Stage) -> None:
    """Where receivers are not counted, the receipt says None rather than a guess."""
    transport, channel = await stage.connect(), stage.channel("counted")
    await stage.subscribe(transport, channel, "save")
    receipts = await stage.publish(transport, stage.messages(channel, 1))
    expect(receipts[0].receivers, None, "the receivers")


@promise(has("detects_unrouted", "groups"))
async def routed_is_told(stage: Stage) -> None:
    """The receipt says whether somebody takes the message, for each message of a batch."""
    transport, taken, nobody = await stage.connect(), stage.channel("taken"), stage.channel("nobody")
    await stage.subscribe(transport, taken, "readers")
    batch = [stage.message(channel) for channel in (taken, nobody, taken)]
    receipts = await stage.publish(await stage.connect(), batch, park=False)
    expect([receipt.routed for receipt in receipts], [True, False, True], "routed")


@promise(has("detects_unrouted", "broadcast"))
async def listener_counts_as_routed(stage: Stage) -> None:
    """A listener is somebody: while it lives its channel is routed, afterwards not."""
    transport, channel = await stage.connect(), stage.channel("heard")
    listener = await stage.subscribe(transport, channel)
    other = await stage.connect()
    receipts = await stage.publish(other, stage.messages(channel, 1), park=False)
    expect(receipts[0].routed, True, "routed while a listener is there")
    await listener.close()
    receipts = await stage.publish(other, stage.messages(channel, 1), park=False)
    expect(receipts[0].routed, False, "routed after the listener closed")


@promise(lacks("detects_unrouted"))
async def undetected_routing_is_unknown(stage: Stage) -> None:
    """Where it is not known whether somebody takes a message, the receipt says None, never False or True."""
    transport = await stage.connect()
    receipts = await stage.publish(transport, [stage.message(stage.channel("nobody"))])
    expect(receipts[0].routed, None, "routed")


@promise(has("detects_unrouted", "parks"))
async def unrouted_is_parked(stage: Stage) -> None:
    """A message that nobody takes is a dead letter when publish returns, with reason unrouted and no group."""
    transport, channel = await stage.connect(), stage.channel("nobody")
    messages = stage.messages(channel, 3, key="k", headers={"trace": "x"})
    receipts = await stage.publish(transport, messages)
    expect([receipt.routed for receipt in receipts], [False] * 3, "routed")
    letters = await stage.letters(await stage.connect(), channel)
    expect([letter.message for letter in letters], messages, "the messages of the dead letters")
    expect(
        {(letter.reason, letter.group, letter.source) for letter in letters},
        {("unrouted", None, None)},
        "reason, group and source",
    )


@promise(has("detects_unrouted", "parks"))
async def unparked_leaves_nothing(stage: Stage) -> None:
    """A message that nobody takes and that is not to be parked leaves nothing behind."""
    transport, channel = await stage.connect(), stage.channel("nobody")
    receipts = await stage.publish(transport, stage.messages(channel, 2), park=False)
    expect([receipt.routed for receipt in receipts], [False] * 2, "routed")
    expect(await stage.letters(transport, channel), [], "the dead letters")
    if stage.capabilities.groups:
        reader = await stage.subscribe(transport, channel, "late")
        await stage.expect_nothing_else(transport, reader)


@promise(has("groups"), SETTLES_EACH)
async def post_for_one_group_reaches_it_alone(stage: Stage) -> None:
    """A post with a group reaches that group and no other reader, with the history it carries."""
    transport, channel = await stage.connect(), stage.channel("one")
    meant = await stage.subscribe(transport, channel, "meant")
    other = await stage.subscribe(transport, channel, "other")
    bystanders = [other]
    if stage.capabilities.broadcast:
        bystanders.append(await stage.subscribe(transport, channel))
    messages = stage.messages(channel, 3)
    failures = (stage.failure(1, "before"), stage.failure(2, "again"))
    receipts = await stage.publish(
        await stage.connect(), messages, group=GroupId(channel, "meant"), attempt=2, redrive=1, errors=failures
    )
    if stage.capabilities.counts_receivers:
        expect([receipt.receivers for receipt in receipts], [1] * 3, "the receivers")
    got = await meant.take(3)
    expect_each_once(ids(got), ids(messages), "what the group gets")
    expect({delivery.redrive for delivery in got}, {1}, "the redrives")
    if stage.capabilities.counts_attempts:
        expect({delivery.attempt for delivery in got}, {3}, "the attempts after the two that the post carries")
    if stage.capabilities.keeps_history:
        expect({delivery.errors for delivery in got}, {failures}, "the failures")
    await meant.done(got, ACKED)
    await stage.expect_nothing_else(transport, meant, *bystanders)


@promise(has("groups", "detects_unrouted"), SETTLES_EACH)
async def post_for_unknown_group_is_an_error(stage: Stage) -> None:
    """A post for a group that does not exist gets an error in its receipt, and the rest of the batch is taken."""
    transport, channel = await stage.connect(), stage.channel("one")
    reader = await stage.subscribe(transport, channel, "known")
    lost, taken = stage.messages(channel, 2)
    receipts = await transport.publish([Post(lost, group=GroupId(channel, "unknown")), Post(taken)])
    expect([receipt.id for receipt in receipts], [lost.id, taken.id], "the receipts' ids")
    expect_that(isinstance(receipts[0].error, PabalError), "an error in the receipt", receipts[0])
    expect(receipts[1].error, None, "the error of the other message")
    expect(ids(await reader.handle(1)), [taken.id], "what the known group gets")
    await stage.expect_nothing_else(transport, reader)
