"""Leases: a delivery stays ours while we give signs of life, and no longer."""

from __future__ import annotations

import asyncio
import dataclasses

from pabal.model.outcome import ACKED, RELEASED, Outcome, Rejected, Retried, Settlement
from pabal.model.transport import Delivery, Transport
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, promise
from pabal.testing.stage import Reader, Stage, ids

LEASE = 3.0


@dataclasses.dataclass(frozen=True)
class _Takeover:
    """A delivery whose lease ran out at one member, and the same message as its new owner then got it."""

    first: Reader
    late: Delivery
    owner: Reader
    ours: Delivery
    others: list[Reader]
    transport: Transport

    async def ends(self, stage: Stage) -> None:
        """Check that the new owner can end it as its own and that it does not come once more."""
        expect(ids(await self.owner.extend([self.ours])), [], "what the new owner lost")
        await self.owner.done([self.ours], ACKED)
        for other in self.others:
            await other.close()
        end = stage.message(self.owner.channel, b"the end")
        await stage.publish(self.transport, [end])
        more = ids(await self.owner.until(end))
        expect_that(self.ours.message.id not in more, "an acked message not to come again", more)


async def _taken_over(stage: Stage, name: str) -> _Takeover | None:
    """A takeover; None where the connection is the lease: then it is checked that time takes nothing away.

    Two messages and a window of one: with the other message the first member has all it may hold, so that the one
    whose lease is over goes to the second, mostly; the first may have it again when it had room.
    """
    transport, other, channel = await stage.connect(lease=LEASE), await stage.connect(lease=LEASE), stage.channel(name)
    first = await stage.subscribe(transport, channel, "members", window=1)
    await stage.publish(transport, stage.messages(channel, 2))
    late = await first.one()
    if first.subscription.lease is None:
        await stage.pass_time(LEASE * 2)
        expect(await first.extend([late]), [], "what is no longer ours while the connection lives")
        await first.done([late], ACKED)
        return None
    await stage.live(transport, LEASE / 12, step=LEASE / 12)
    second = await stage.subscribe(other, channel, "members", window=1)
    await stage.live(transport, LEASE * 1.5, step=LEASE / 12)
    members = [first, second]
    owner, ours = await _whoever_gets(stage, members, late.message.id)
    return _Takeover(first, late, owner, ours, [each for each in members if each is not owner], other)


async def _whoever_gets(stage: Stage, members: list[Reader], id: str) -> tuple[Reader, Delivery]:
    """The member that gets a message, and its delivery; what else comes until then is acked."""
    found: asyncio.Future[tuple[Reader, Delivery]] = asyncio.get_running_loop().create_future()

    async def read(reader: Reader) -> None:
        while True:
            for delivery in await reader.subscription.receive(1):
                if delivery.message.id == id:
                    found.set_result((reader, delivery))
                    return
                await reader.done([delivery], ACKED)

    async with stage.within("the message to come again when its lease is over"), asyncio.TaskGroup() as tasks:
        reading = [tasks.create_task(read(member), name="member") for member in members]
        await found
        for task in reading:
            task.cancel()
    return found.result()


@promise(has("groups"), SETTLES_EACH)
async def lease_is_as_asked(stage: Stage) -> None:
    """A subscription's lease is what its transport was asked for, or None: as long as the connection lives."""
    transport = await stage.connect(lease=LEASE)
    reader = await stage.subscribe(transport, stage.channel("leased"), "members")
    if reader.subscription.lease is not None:
        expect(reader.subscription.lease, LEASE, "the lease")


@promise(has("groups"), SETTLES_EACH)
async def expired_lease_returns_the_message(stage: Stage) -> None:
    """A delivery without a sign of life goes to another member once its lease is over, counted as an attempt."""
    taken = await _taken_over(stage, "expired")
    if taken is None:
        return
    expect(taken.ours.message, taken.late.message, "the message as it comes again")
    expect(taken.ours.errors, (), "the failures: an expired lease is a delivery, not a failure")
    if stage.capabilities.counts_attempts:
        expect(taken.ours.attempt, 2, "the attempt")
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
    for _ in range(12):
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
    for _ in range(12):
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
    outcomes: tuple[Outcome, ...] = (
        ACKED,
        RELEASED,
        Retried(0.0, stage.failure(1, "late")),
        Rejected("rejected", stage.failure(1, "late")),
    )
    for number, outcome in enumerate(outcomes):
        taken = await _taken_over(stage, f"late{number}")
        if taken is None:
            continue
        expect(await taken.first.settle([taken.late], outcome), [Settlement.LOST], f"the late settlement as {outcome}")
        await taken.ends(stage)


@promise(has("groups"), SETTLES_EACH)
async def late_extension_is_lost(stage: Stage) -> None:
    """Extending after the lease is over returns the delivery as lost, and does not take it from the new owner."""
    taken = await _taken_over(stage, "late")
    if taken is None:
        return
    expect(ids(await taken.first.extend([taken.late])), ids([taken.late]), "what a late extension returns as lost")
    await taken.ends(stage)
