from __future__ import annotations

import asyncio

import pytest

from pabal.model.clock import VirtualClock
from pabal.model.errors import ConfigurationError, ConnectionFailed, MessageTooLarge
from pabal.model.message import Message
from pabal.model.outcome import RELEASED, Failure, Rejected, Retried, Settlement
from pabal.model.transport import GroupId
from tests.unit.transports.memory import (
    FAILURE,
    TIME,
    fresh_name,
    group,
    ids,
    letters,
    opened,
    post,
    publish,
    settle,
    status,
    take,
)


async def test_receivers_are_groups_and_listeners() -> None:
    """A receipt counts every group and listener that took the message, by channel or pattern."""
    transport = await opened()
    await group(transport)
    await group(transport, "other", channel="a.*")
    await group(transport, None, channel=">")
    await group(transport, channel="c")
    (receipt,) = await publish(transport, "1")
    assert (receipt.receivers, receipt.routed, receipt.error) == (3, True, None)


async def test_later_group_is_routed_to() -> None:
    """A group or listener that comes or goes counts from the next publish on."""
    transport = await opened()
    await group(transport)
    receivers = [(await publish(transport, "1"))[0].receivers]
    listener = await group(transport, None)
    receivers += [(await publish(transport, "2"))[0].receivers]
    await listener.aclose()
    receivers += [(await publish(transport, "3"))[0].receivers]
    assert receivers == [1, 2, 1]


async def test_unrouted_is_parked_or_left_out() -> None:
    """What nobody takes is parked as unrouted in the same step, delayed or not, unless the post says otherwise."""
    transport = await opened()
    for more in ({}, {"due": 4e9}, {"park": False}):
        (receipt,) = await publish(transport, str(len(more)), **more)
        assert (receipt.routed, receipt.receivers, receipt.error) == (False, 0, None)
    assert [(letter.reason, letter.group) for letter in await letters(transport)] == [("unrouted", None)] * 2


async def test_failure_of_one_leaves_the_others() -> None:
    """A body too large, a bad channel and an unknown group are errors of their own receipts."""
    transport = await opened("memory://?max_body=4")
    reader = await group(transport)
    receipts = await transport.publish(
        [post("1", body=b"12345"), post("2", "a.*"), post("3", group=GroupId("a.b", "no")), post("4", body=b"1234")]
    )
    errors = [type(receipt.error) for receipt in receipts]
    assert [MessageTooLarge, ConfigurationError, ConfigurationError, type(None)] == errors
    assert "5 bytes" in str(receipts[0].error)
    assert "up to 4" in str(receipts[0].error)
    assert ids(await take(reader)) == ["4"]


async def test_post_for_one_group_carries_its_history() -> None:
    """A post with a group reaches it alone, with attempt, errors and redrive as they were."""
    transport = await opened()
    reader, other = await group(transport), await group(transport, "other")
    await publish(transport, "1", group=GroupId("a.b", "g"), attempt=2, errors=(FAILURE,), redrive=1)
    (got,) = await take(reader)
    assert (got.attempt, got.errors, got.redrive) == (3, (FAILURE,), 1)
    assert await take(other) == []


async def test_delayed_come_when_due_by_due_time() -> None:
    """A delayed message comes when it is due: by due time, then by publish order."""
    clock = VirtualClock()
    transport = await opened(clock=clock)
    reader = await group(transport)
    now = clock.time()
    for id, due in (("late", now + 9), ("1", now + 5), ("2", now + 5), ("past", now - 5)):
        await publish(transport, id, due=due)
    assert ids(await take(reader)) == ["past"]
    clock.advance(4.9)
    await publish(transport, "now")
    assert (await status(transport)).waiting == 3
    clock.advance(0.2)
    assert ids(await take(reader)) == ["now", "1", "2"]
    clock.advance(4)
    assert ids(await take(reader)) == ["late"]


# Sharing


async def test_members_share() -> None:
    """Two members that read at the same time get half each, whatever their limits."""
    transport = await opened()
    readers = [await group(transport), await group(transport)]
    receiving = [asyncio.ensure_future(reader.receive(100)) for reader in readers]
    await asyncio.sleep(0)
    await publish(transport, *map(str, range(10)))
    first, second = await asyncio.gather(*receiving)
    rest = await take(readers[0])
    assert len(first) == 5
    assert set(map(str, range(10))) == {*ids(first), *ids(second), *ids(rest)}


async def test_receive_gives_a_window_at_most() -> None:
    """One receive returns no more than the window, which can be resized; with 0 it waits."""
    transport = await opened()
    reader = await group(transport, window=3)
    await publish(transport, *map(str, range(10)))
    sizes = [len(await reader.receive(100))]
    reader.resize(5)
    sizes += [len(await reader.receive(100))]
    reader.resize(0)
    waiting = asyncio.ensure_future(reader.receive(100))
    await asyncio.sleep(0)
    await publish(transport, "more")
    await asyncio.sleep(0)
    assert not waiting.done()
    reader.resize(9)
    assert [*sizes, len(await waiting)] == [3, 5, 3]


async def test_member_without_window_takes_no_share() -> None:
    """What a member with a window of 0 was woken for goes to the one that waits."""
    transport = await opened()
    paused, reader = await group(transport), await group(transport)
    tasks = [asyncio.ensure_future(each.receive(10)) for each in (paused, reader)]
    await asyncio.sleep(0)
    await publish(transport, "1")
    paused.resize(0)
    assert ids(await tasks[1]) == ["1"]
    await transport.aclose()
    with pytest.raises(ConnectionFailed):
        await tasks[0]


async def test_cancelled_receive_passes_its_message_on() -> None:
    """A receive that is cancelled just after it was woken leaves the message to another member."""
    transport = await opened()
    first, second = await group(transport), await group(transport)
    tasks = [asyncio.ensure_future(each.receive(10)) for each in (first, second)]
    await asyncio.sleep(0)
    await publish(transport, "1")
    tasks[0].cancel()
    assert ids(await tasks[1]) == ["1"]
    assert tasks[0].cancelled()


async def test_closing_wakes_and_passes_on() -> None:
    """A waiting receive raises when its subscription is closed, and what woke it goes to another member."""
    transport = await opened()
    first, second = await group(transport), await group(transport)
    tasks = [asyncio.ensure_future(each.receive(10)) for each in (first, second)]
    await asyncio.sleep(0)
    await publish(transport, "1")
    await first.aclose()
    await first.aclose()
    with pytest.raises(ConnectionFailed, match="closed"):
        await tasks[0]
    assert ids(await tasks[1]) == ["1"]


async def test_closed_member_gives_back_uncounted() -> None:
    """What a member had in hand when it closed comes again in its place, and its late settlement is LOST."""
    transport = await opened()
    first = await group(transport)
    await publish(transport, "1", "2", "3")
    in_hand = await take(first, 2)
    await first.aclose()
    assert await settle(first, in_hand) == [Settlement.LOST] * 2
    assert in_hand == list(await first.extend(in_hand))
    again = await take(await group(transport))
    assert [(each.message.id, each.attempt) for each in again] == [("1", 1), ("2", 1), ("3", 1)]


async def test_listener_has_private_copies() -> None:
    """Each listener gets each message while it lives, without a lease; what it had vanishes with it."""
    clock = VirtualClock()
    transport = await opened(clock=clock)
    one, other = await group(transport, None), await group(transport, None)
    await publish(transport, "1", "2")
    got = await take(one)
    assert one.lease is None
    clock.advance(1000)
    assert await settle(one, got) == [Settlement.DONE] * 2
    await other.aclose()
    assert await letters(transport) == []
    assert await transport.groups() == []
    assert (await publish(transport, "3"))[0].receivers == 1


# Settling


async def test_released_goes_back_to_its_place() -> None:
    """What is given back comes before what was published later, and was no attempt."""
    transport = await opened()
    reader = await group(transport)
    await publish(transport, *"12345")
    got = await take(reader, 3)
    await settle(reader, [got[2], got[0]], RELEASED)
    again = await take(reader)
    assert [(each.message.id, each.attempt) for each in again] == [("1", 1), ("3", 1), ("4", 1), ("5", 1)]


async def test_retried_comes_after_its_delay_with_its_failure() -> None:
    """A retry waits for its time, counts, and keeps every failure."""
    clock = VirtualClock()
    transport = await opened(clock=clock)
    reader = await group(transport)
    await publish(transport, "1", "2")
    got = await take(reader)
    await settle(reader, got[:1], Retried(5.0, FAILURE))
    await settle(reader, got[1:], Retried(0.0))
    assert [(each.message.id, each.attempt, each.errors) for each in await take(reader)] == [("2", 2, ())]
    clock.advance(4.9)
    assert await take(reader) == []
    clock.advance(0.1)
    (again,) = await take(reader)
    assert (again.attempt, again.errors) == (2, (FAILURE,))


async def test_settling_is_fenced() -> None:
    """A second settlement, one by another member, and one after the lease ran out are LOST and change nothing."""
    clock = VirtualClock()
    transport = await opened("memory://?lease=10", clock)
    reader, other = await group(transport), await group(transport)
    await publish(transport, "1")
    old = await take(reader)
    assert await settle(other, old, RELEASED) == [Settlement.LOST]
    clock.advance(10)
    new = await take(other)
    assert new[0].attempt == 2
    assert await settle(reader, old, Rejected("rejected")) == [Settlement.LOST]
    assert await settle(other, new) == [Settlement.DONE]
    assert await settle(other, new) == [Settlement.LOST]
    assert await letters(transport) == []


async def test_extended_stays_ours() -> None:
    """A lease counts from the last extension; what was not extended comes again with its attempt counted."""
    clock = VirtualClock()
    transport = await opened("memory://?lease=10", clock)
    reader = await group(transport)
    await publish(transport, "1", "2", "3")
    got = await take(reader, 2)
    for _ in range(3):
        clock.advance(6)
        await reader.extend(got[:1])
    assert reader.lease == 10.0
    assert [(each.message.id, each.attempt) for each in await take(reader)] == [("2", 2), ("3", 1)]
    assert got[1:] == list(await reader.extend(got))
    assert await settle(reader, got[:1]) == [Settlement.DONE]


async def test_rejected_is_parked() -> None:
    """A rejection becomes a dead letter of its group with every failure; other groups are not concerned."""
    clock = VirtualClock()
    transport = await opened(clock=clock)
    reader, other = await group(transport), await group(transport, "other")
    await publish(transport, "1")
    await settle(reader, await take(reader), Retried(0.0, FAILURE))
    last = Failure(TIME, 2, "ValueError: still no")
    await settle(reader, await take(reader), Rejected("exhausted", last))
    (letter,) = await letters(transport)
    assert ("exhausted", "a.b", "g", (FAILURE, last)) == (
        letter.reason,
        letter.source,
        letter.group,
        letter.attempts,
    )
    assert clock.time() == letter.parked.timestamp()
    assert ids(await take(other)) == ["1"]
    assert await take(reader) == []


# Requests


async def test_request_reaches_only_the_living() -> None:
    """A request goes to listeners and to groups with a living member, and is never parked."""
    transport = await opened()
    gone = await group(transport, "gone")
    await gone.aclose()
    request = post("1").message
    assert ((receipt := await transport.request(request)).routed, receipt.receivers) == (False, 0)
    reader, _ = await group(transport), await group(transport, None)
    assert ((receipt := await transport.request(request)).routed, receipt.receivers) == (True, 2)
    assert ids(await take(reader)) == ["1"]
    assert await letters(transport) == []
    assert await take(await group(transport, "gone")) == []


async def test_answer_comes_back_by_the_reply_address() -> None:
    """Answers are handed to the asker by the address of the request; nobody waiting is no error."""
    url = f"memory://{fresh_name()}"
    asker, answerer = await opened(url), await opened(url)
    arrived: asyncio.Future[tuple[str, Message | None]] = asyncio.get_running_loop().create_future()
    way_back = await asker.replies(lambda to, answer: arrived.set_result((to, answer)))
    answer = post("2", f"{way_back}.token").message
    await answerer.reply(answer)
    assert (f"{way_back}.token", answer) == await arrived
    with pytest.raises(ConfigurationError):
        await asker.replies(lambda _to, _answer: None)
    await asker.aclose()
    await answerer.reply(answer)
    await answerer.reply(post("3", "nowhere").message)


async def test_request_too_large_is_an_error() -> None:
    """A request's body has the same limit as any other."""
    transport = await opened("memory://?max_body=1")
    assert isinstance((await transport.request(post("1", body=b"12").message)).error, MessageTooLarge)
