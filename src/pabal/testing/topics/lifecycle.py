"""Opening and closing: nothing is lost, nothing hangs, and closed is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.errors import ConnectionFailed
from pabal.model.outcome import ACKED, Settlement
from pabal.model.transport import Delivery, GroupId, Post, Source
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, promise
from pabal.testing.stage import Stage, administers, examines, ids, parks, raised, requests


@promise(has("groups"), SETTLES_EACH)
async def closing_returns_the_unsettled(stage: Stage) -> None:
    """What a closed subscription had in hand or ready comes to another member, uncounted, and nothing else does."""
    transport, channel = await stage.connect(), stage.channel("closing")
    reader = await stage.subscribe(transport, channel, "members", window=20)
    messages = stage.messages(channel, 30)
    await stage.publish(transport, messages)
    got = await reader.take(10)
    await reader.done(got[:3], ACKED)
    await reader.close()
    other = await stage.subscribe(await stage.connect(), channel, "members")
    again = await other.handle(27)
    expect_each_once(ids(got[:3] + again), ids(messages), "the messages")
    if stage.capabilities.counts_attempts:
        expect({delivery.attempt for delivery in again}, {1}, "the attempts of what closing gave back")
    expect({delivery.errors for delivery in again}, {()}, "the failures of what closing gave back")
    await stage.expect_nothing_else(transport, other)


@promise(has("groups"), SETTLES_EACH)
async def closing_the_transport_returns_the_unsettled(stage: Stage) -> None:
    """What the readers of a closed transport had in hand or ready comes to members on other connections."""
    keeper, leaving, channel = await stage.connect(), await stage.connect(), stage.channel("closing")
    readers = [await stage.subscribe(leaving, channel, "members", window=5) for _ in range(3)]
    messages = stage.messages(channel, 30)
    await stage.publish(keeper, messages)
    await readers[0].take(4)
    await stage.close(leaving)
    other = await stage.subscribe(keeper, channel, "members")
    again = await other.handle(30)
    expect_each_once(ids(again), ids(messages), "the messages")
    if stage.capabilities.counts_attempts:
        expect({delivery.attempt for delivery in again}, {1}, "the attempts of what closing gave back")
    await stage.expect_nothing_else(keeper, other)


@promise(has("groups"), SETTLES_EACH)
async def settling_after_closing_is_lost(stage: Stage) -> None:
    """A delivery of a closed subscription is no longer ours: settling it says LOST, and the message comes again."""
    transport, channel = await stage.connect(), stage.channel("closing")
    reader = await stage.subscribe(transport, channel, "members")
    await stage.publish(transport, stage.messages(channel, 1))
    got = [await reader.one()]
    await reader.close()
    expect(await reader.settle(got, ACKED), [Settlement.LOST], "the settlement after closing")
    other = await stage.subscribe(transport, channel, "members")
    expect(ids(await other.handle(1)), ids(got), "what comes again")
    await stage.expect_nothing_else(transport, other)


@promise(has("groups"), SETTLES_EACH)
async def reopening_loses_nothing(stage: Stage) -> None:
    """Ten rounds of opening, handling a few, and closing in the middle lose no message and double none."""
    keeper, channel = await stage.connect(), stage.channel("rounds")
    await (await stage.subscribe(keeper, channel, "members")).close()
    messages = stage.messages(channel, 100)
    await stage.publish(keeper, messages)
    handled: list[Delivery] = []
    for _ in range(10):
        transport = await stage.connect()
        reader = await stage.subscribe(transport, channel, "members", window=20)
        handled += await reader.handle(7)
        await reader.take(5)
        await stage.close(transport)
    reader = await stage.subscribe(keeper, channel, "members")
    handled += await reader.handle(30)
    expect_each_once(ids(handled), ids(messages), "the messages")
    await stage.expect_nothing_else(keeper, reader)


@promise(has("groups"), SETTLES_EACH)
async def closing_at_once_is_closing_once(stage: Stage) -> None:
    """Ten closings of a subscription, then of its transport, at the same time all end and give all back once."""
    keeper, transport, channel = await stage.connect(), await stage.connect(), stage.channel("closing")
    reader = await stage.subscribe(transport, channel, "members")
    messages = stage.messages(channel, 20)
    await stage.publish(keeper, messages)
    await reader.take(8)
    async with stage.within("ten closings of a subscription to end"):
        await asyncio.gather(*(reader.subscription.aclose() for _ in range(10)))
    async with stage.within("ten closings of a transport to end"):
        await asyncio.gather(*(transport.aclose() for _ in range(10)))
    other = await stage.subscribe(keeper, channel, "members")
    expect_each_once(ids(await other.handle(20)), ids(messages), "the messages")
    await stage.expect_nothing_else(keeper, other)


@promise(has("groups"))
async def closing_ends_a_waiting_receive(stage: Stage) -> None:
    """A receive that waits ends with ConnectionFailed when its subscription closes, and so does every later one."""
    transport, channel = await stage.connect(), stage.channel("waiting")
    for close in ("subscription", "transport"):
        reader = await stage.subscribe(transport, channel, "members")
        waiting = asyncio.create_task(raised(reader.subscription.receive, 1), name="waiting receive")
        await asyncio.sleep(0)
        async with stage.within(f"closing the {close} to end"):
            await (reader.subscription if close == "subscription" else transport).aclose()
        async with stage.within("a waiting receive to end with its subscription"):
            error = await waiting
        expect_that(isinstance(error, ConnectionFailed), "a waiting receive to raise ConnectionFailed", error)
        async with stage.within("receive() after closing to end"):
            error = await raised(reader.subscription.receive, 1)
        expect_that(isinstance(error, ConnectionFailed), "receive after closing to raise ConnectionFailed", error)


@promise(has("groups"))
async def closed_transport_refuses_everything(stage: Stage) -> None:
    """A closed transport raises ConnectionFailed on every method, and closing it again is harmless."""
    transport, channel = await stage.connect(), stage.channel("closed")
    await stage.subscribe(transport, channel, "members")
    for _ in range(2):
        await stage.close(transport)
    message = stage.message(channel)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "publish": lambda: transport.publish([Post(message)]),
        "subscribe": lambda: transport.subscribe(Source(channel, "members")),
    }
    if stage.capabilities.requests:
        asking = requests(transport)
        calls["replies"] = lambda: asking.replies(lambda _, __: None)
        calls["request"] = lambda: asking.request(stage.message(channel, reply_to="x.y"))
        calls["reply"] = lambda: asking.reply(stage.message("x.y"))
    if stage.capabilities.parks:
        parking = parks(transport)
        letter = DeadLetter(id="", message=message, reason="rejected", parked=stage.now())
        calls["park"] = lambda: parking.park([letter])
        calls["letters"] = lambda: anext(parking.letters(LetterFilter()))
        calls["redrive"] = lambda: parking.redrive(["x"])
        calls["discard"] = lambda: parking.discard(["x"])
    if stage.capabilities.administers:
        administering = administers(transport)
        calls["groups"] = administering.groups
        calls["remove"] = lambda: administering.remove(GroupId(channel, "members"))
    if stage.capabilities.examines:
        calls["findings"] = examines(transport).findings
    for name, call in calls.items():
        async with stage.within(f"{name}() on a closed transport to end"):
            error = await raised(call)
        expect_that(isinstance(error, ConnectionFailed), f"{name}() after closing to raise ConnectionFailed", error)


@promise()
async def unopened_transport_closes(stage: Stage) -> None:
    """A transport that was never opened can be closed, twice, and one that was opened twice is one."""
    unopened = await stage.subject.connect()
    for _ in range(2):
        await stage.close(unopened)
    transport = await stage.connect()
    expect(await transport.open(), stage.capabilities, "the capabilities at a second open()")


@promise()
async def capabilities_are_no_more_than_the_best(stage: Stage) -> None:
    """What a transport declares when it is opened is never more than what it tells before as its best."""
    transport = await stage.subject.connect()
    best = transport.best
    await stage.close(transport)
    await stage.connect()
    expect(stage.capabilities.beyond(best), [], "the capabilities that go beyond the best")


@promise(has("groups"))
async def unopened_transport_refuses(stage: Stage) -> None:
    """A transport that was not opened raises ConnectionFailed rather than losing what it is given."""
    transport = await stage.subject.connect()
    error = await raised(transport.publish, [Post(stage.message(stage.channel("early")))])
    await stage.close(transport)
    expect_that(isinstance(error, ConnectionFailed), "publish before open to raise ConnectionFailed", error)
