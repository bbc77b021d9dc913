"""Every message arrives, once, where it belongs, under load and under cancellation."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from pabal.model.outcome import ACKED
from pabal.model.transport import Delivery, Post
from pabal.testing.broken import expect, expect_each_once
from pabal.testing.promise import has, promise
from pabal.testing.stage import Reader, Stage, ids


async def share(stage: Stage, readers: list[Reader], count: int) -> list[Delivery]:
    """What `readers` take and ack together until they have `count`, or nothing has come for too long."""
    handled: list[Delivery] = []
    enough = asyncio.Event()

    async def member(reader: Reader) -> None:
        while True:
            got = list(await reader.subscription.receive(100))
            await reader.done(got, ACKED)
            handled.extend(got)
            if len(handled) >= count:
                enough.set()

    async with asyncio.TaskGroup() as members:
        tasks = [members.create_task(member(reader), name="member") for reader in readers]
        seen = -1
        while not enough.is_set() and len(handled) > seen:
            seen = len(handled)
            with suppress(TimeoutError):
                async with asyncio.timeout(stage.subject.patience):
                    await enough.wait()
        for task in tasks:
            task.cancel()
    return handled


@promise(has("groups"))
async def members_divide_without_loss(stage: Stage) -> None:
    """5,000 messages that 50 members of one group divide arrive once each."""
    channel = stage.channel("busy")
    connections = [await stage.connect() for _ in range(5)]
    readers = [await stage.subscribe(connections[n % 5], channel, "members", window=50) for n in range(50)]
    messages = stage.messages(channel, 5000)
    async with asyncio.TaskGroup() as tasks:
        for start in range(0, 5000, 250):
            tasks.create_task(stage.publish(connections[start // 250 % 5], messages[start : start + 250]))
        got = await share(stage, readers, 5000)
    expect_each_once(ids(got), ids(messages), "the messages")
    await stage.expect_nothing_else_of_members(connections[0], readers)


@promise(has("groups"))
async def channels_stay_apart(stage: Stage) -> None:
    """Readers of 20 channels each get their own channel's messages and no other's."""
    transport, other = await stage.connect(), await stage.connect()
    channels = [stage.channel(f"c{number}.x") for number in range(20)]
    readers = [await stage.subscribe(transport, channel, "readers") for channel in channels]
    sent = {channel: stage.messages(channel, 20) for channel in channels}
    await stage.publish(other, [sent[channel][number] for number in range(20) for channel in channels])
    for channel, reader in zip(channels, readers, strict=True):
        got = await reader.handle(20)
        expect_each_once(
            [f"{each.message.channel} {each.message.id}" for each in got],
            [f"{channel} {each.id}" for each in sent[channel]],
            f"the messages of {channel}",
        )
        await stage.expect_nothing_else(transport, reader)


@promise(has("groups"))
async def parallel_publishes_arrive(stage: Stage) -> None:
    """10,000 publishes at the same time all arrive."""
    transport, channel = await stage.connect(), stage.channel("flood")
    reader = await stage.subscribe(await stage.connect(), channel, "readers", window=500)
    messages = stage.messages(channel, 10_000)

    async def publish() -> None:
        receipts = await asyncio.gather(*(transport.publish([Post(message)]) for message in messages))
        expect([receipt.id for each in receipts for receipt in each], ids(messages), "the receipts' ids")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        got = await share(stage, [reader], 10_000)
    expect_each_once(ids(got), ids(messages), "the messages")


@promise(has("groups"))
async def subscribed_means_registered(stage: Stage) -> None:
    """Once subscribe has returned, no publish from another connection misses the reader."""
    transport, other = await stage.connect(), await stage.connect()
    for number in range(200):
        channel = stage.channel(f"fresh{number}")
        reader = await stage.subscribe(transport, channel, "readers", window=1)
        messages = stage.messages(channel, 1)
        await stage.publish(other, messages)
        expect(ids(await reader.handle(1)), ids(messages), f"what the reader of round {number} gets")
        await reader.close()


@promise(has("broadcast"))
async def listening_means_registered(stage: Stage) -> None:
    """Once subscribe has returned, no publish from another connection misses the listener."""
    transport, other = await stage.connect(), await stage.connect()
    for number in range(100):
        channel = stage.channel(f"fresh{number}")
        reader = await stage.subscribe(transport, channel, window=1)
        messages = stage.messages(channel, 1)
        await stage.publish(other, messages)
        expect(ids(await reader.handle(1)), ids(messages), f"what the listener of round {number} gets")
        await reader.close()


@promise(has("groups"))
async def cancelled_receive_loses_nothing(stage: Stage) -> None:
    """Cancelling receive 100 times, at any moment, loses no message and doubles none."""
    transport, channel = await stage.connect(), stage.channel("cancelled")
    reader = await stage.subscribe(transport, channel, "readers", window=10)
    messages = stage.messages(channel, 200)
    moments = random.Random(20260101)  # noqa: S311 - the same moments in every run
    got: list[Delivery] = []
    for number in range(100):
        receiving = asyncio.create_task(reader.some(3), name="receive")
        for _ in range(moments.randrange(4)):
            await asyncio.sleep(0)
        await stage.publish(transport, messages[2 * number : 2 * number + 2])
        for _ in range(moments.randrange(4)):
            await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        if not receiving.cancelled():
            received = await receiving
            await reader.done(received, ACKED)
            got += received
    got += await reader.handle(len(messages) - len(got))
    expect_each_once(ids(got), ids(messages), "the messages")
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups"))
async def receive_keeps_its_limit(stage: Stage) -> None:
    """receive(limit) returns between 1 and limit deliveries, however many are ready."""
    transport, channel = await stage.connect(), stage.channel("limit")
    reader = await stage.subscribe(transport, channel, "readers", window=50)
    messages = stage.messages(channel, 60)
    await stage.publish(transport, messages)
    got: list[Delivery] = []
    for limit in (1, 2, 3, 1, 5):
        got += await reader.some(limit)
    got += await reader.take(60 - len(got))
    await reader.done(got, ACKED)
    expect_each_once(ids(got), ids(messages), "the messages")
