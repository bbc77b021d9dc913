"""Leases: a delivery stays ours while we give signs of life, and no longer."""

from __future__ import annotations

import asyncio
import dataclasses

from pabal.model.outcome import ACKED, RELEASED, Outcome, Rejected, Retried, Settlement
from pabal.model.transport import Delivery, Settled, Transport
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, promise
from pabal.testing.stage import Reader, Stage, ids

LEASE = 3.0


@dataclasses.dataclass(frozen=True)
class _Takeover:
    """Deliveries whose lease ran out at one member, and the same messages as their new owners then got them."""

    transport: Transport
    members: list[Reader]
    late: list[Delivery]
    owned: list[tuple[Reader, Delivery]]

    async def ends(self, stage: Stage) -> None:
        """Check that the new owners can end them as their own and that they do not come once more."""
        for owner, ours in self.owned:
            expect(ids(await owner.extend([ours])), [], "what the new owner lost")
            await owner.done([ours], ACKED)
        for member in self.members:
            await member.close()
        channel = self.members[0].channel
        reader, end = await stage.subscribe(self.transport, channel, "members"), stage.message(channel, b"the end")
        await stage.publish(self.transport, [end])
        more = set(ids(await reader.until(end)))
        expect_that(more.isdisjoint(ids(self.late)), "what the new owner acked not to come again", more)


async def _taken_over(stage: Stage, count: int = 1) -> _Takeover | None:
    """A takeover; None where the connection is the lease: then it is checked that time takes nothing away.

    With as many other messages the first member has all that it may hold, so that those whose lease is over go to
    the second, mostly; the first may have them again when it had room.
    """
    transport, other = await stage.connect(lease=LEASE), await stage.connect(lease=LEASE)
    channel = stage.channel("leased")
    first = await stage.subscribe(transport, channel, "members", window=count)
    await stage.publish(transport, stage.messages(channel, 2 * count))
    late = await first.take(count)
    if first.subscription.lease is None:
        await stage.pass_time(LEASE * 2)
        expect(await first.extend(late), [], "what is no longer ours while the connection lives")
        await first.done(late, ACKED)
        return None
    await stage.live(transport, LEASE / 12, step=LEASE / 12)
    second = await stage.subscribe(other, channel, "members", window=count)
    await stage.live(transport, LEASE * 1.5, step=LEASE / 12)
    return _Takeover(other, [first, second], late, await _whoever_gets(stage, [first, second], ids(late)))


async def _whoever_gets(stage: Stage, members: list[Reader], wanted: list[str]) -> list[tuple[Reader, Delivery]]:
    """The member that gets each message, and its delivery; what else comes until then is acked."""
    got: dict[str, tuple[Reader, Delivery]] = {}
    all_there = asyncio.Event()

    async def read(reader: Reader) -> None:
        while True:
            for delivery in await reader.subscription.receive(1):
                if delivery.message.id in wanted:
                    got[delivery.message.id] = (reader, delivery)
                else:
                    await reader.done([delivery], ACKED)
            if len(got) == len(wanted):
                all_there.set()

    async with stage.within("a message to come again when its lease is over"), asyncio.TaskGroup() as tasks:
        reading = [tasks.create_task(read(member), name="member") for member in members]
        await all_there.wait()
        for task in reading:
            task.cancel()
    return [got[id] for id in wanted]


@promise(has("groups"), SETTLES_EACH)
async def lease_is_as_asked(stage: Stage) -> None:
    """A subscription's lease is what its transport was asked for, or None: as long as the connection lives."""
    transport = await stage.connect(lease=LEASE)
    reader = await stage.subscribe(transport, stage.channel("leased"), "members")
    if reader.subscription.lease is not None:
        expect(reader.subscription.lease, LEASE, "the lease")


@promise(has("groups"), SETTLES_EACH)
async def expired_lease_returns_the_message(stage: Stage) -> None:
    """A delivery without a sign of life comes again once its lease is over, to anyone, counted as an attempt."""
    taken = await _taken_over(stage)
    if taken is None:
        return
    ((_, ours),) = taken.owned
    expect(ours.message, taken.late[0].message, "the message as it comes again")
    expect(ours.errors, (), "the failures: an expired lease is a delivery, not a failure")
    if stage.capabilities.counts_attempts:
        expect(ours.attempt, 2, "the attempt")
    await taken.ends(stage)


@promise(has("groups"), SETTLES_EACH)
async def extended_lease_holds(stage: Stage) -> None:
    """A delivery that is extended in time stays ours for several leases, and is settled as DONE."""
    transport, other, channel = (
        await stage.connect(lease=LEASE),
        await stage.connect(lease=LEASE),
        stage.channel("held"),
    )
    first = await stage.subscribe(transport, channel, "members", window=1)
    messages = stage.messages(channel, 1)
    await stage.publish(transport, messages)
    delivery = await first.one()
    second = await stage.subscribe(other, channel, "members", window=1)
    for _ in range(9):
        await stage.live(other, LEASE / 3, step=LEASE / 12)
        expect(await first.extend([delivery]), [], "what is no longer ours although it was extended")
    await first.done([delivery], ACKED)
    await first.close()
    await stage.expect_nothing_else(other, second)


@promise(has("groups"), SETTLES_EACH)
async def buffered_deliveries_do_not_expire(stage: Stage) -> None:
    """What a subscription only holds ready does not expire: it comes for the first time whenever it is received."""
    transport, channel = await stage.connect(lease=LEASE), stage.channel("buffered")
    reader = await stage.subscribe(transport, channel, "members", window=10)
    messages = stage.messages(channel, 3)
    await stage.publish(transport, messages)
    in_hand = [await reader.one()]
    for _ in range(9):
        await stage.live(transport, LEASE / 3, step=LEASE / 12)
        expect(await reader.extend(in_hand), [], "what is no longer ours although it was extended")
    got = in_hand + await reader.take(2)
    expect_each_once(ids(got), ids(messages), "the messages")
    expect({delivery.attempt for delivery in got}, {1}, "the attempts")
    await reader.done(got, ACKED)
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups"), SETTLES_EACH)
async def late_settlement_is_lost(stage: Stage) -> None:
    """Settling after the lease is over says LOST, whatever the outcome, and does not disturb the new owner."""
    failure = stage.failure(1, "late")
    outcomes: list[Outcome] = [ACKED, RELEASED, Retried(0.0, failure), Rejected("rejected", failure)]
    taken = await _taken_over(stage, len(outcomes))
    if taken is None:
        return
    late = [Settled(delivery, outcome) for delivery, outcome in zip(taken.late, outcomes, strict=True)]
    expect(await taken.members[0].settle_each(late), [Settlement.LOST] * len(late), "the late settlements")
    await taken.ends(stage)


@promise(has("groups"), SETTLES_EACH)
async def late_extension_is_lost(stage: Stage) -> None:
    """Extending after the lease is over returns the delivery as lost, and does not take it from the new owner."""
    taken = await _taken_over(stage)
    if taken is None:
        return
    expect(ids(await taken.members[0].extend(taken.late)), ids(taken.late), "what a late extension returns as lost")
    await taken.ends(stage)
