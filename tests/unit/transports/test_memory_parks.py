from __future__ import annotations

import pytest

from pabal.model.clock import VirtualClock, utc
from pabal.model.dead import DeadLetter
from pabal.model.errors import ConfigurationError
from pabal.model.outcome import ACKED, Rejected, Retried
from pabal.model.transport import GroupId
from tests.unit.transports.memory import FAILURE, TIME, group, ids, letters, opened, post, publish, settle, status, take


async def test_letters_are_found_and_discarded() -> None:
    """Letters are listed oldest first by id, channel, group or reason, and discarded by id."""
    transport = await opened()
    reader = await group(transport)
    await publish(transport, "1")
    await settle(reader, await take(reader), Rejected("rejected"))
    await publish(transport, "2", "3", channel="nobody")
    everything = await letters(transport)
    assert [letter.message.id for letter in everything] == ["1", "2", "3"]
    assert everything[1:] == await letters(transport, reason="unrouted")
    assert everything[1:] == await letters(transport, channel="nobody")
    assert everything[:1] == await letters(transport, group="g")
    assert everything[2:] == await letters(transport, ids=[everything[2].id, "unknown"])
    assert await transport.discard([everything[0].id, everything[0].id, "unknown"]) == 1
    assert everything[1:] == await letters(transport)


async def test_parked_letters_get_ids_of_their_own() -> None:
    """Two letters of one message, parked under one id, are two letters, the older first."""
    transport = await opened()
    for parked in (20.0, 10.0):
        letter = DeadLetter(id="x", message=post("1").message, reason="abandoned", parked=utc(parked))
        await transport.park([letter])
    kept = await letters(transport)
    assert [letter.parked.timestamp() for letter in kept] == [10.0, 20.0]
    assert len({letter.id for letter in kept} - {"x"}) == 2


async def test_redrive_reaches_only_the_group_that_failed() -> None:
    """A redrive begins again with the same message, at its old place, for the one group; it is counted."""
    transport = await opened()
    reader, other = await group(transport), await group(transport, "other")
    await publish(transport, "1", "2", "3")
    got = await take(reader, 2)
    await settle(other, await take(other))
    await settle(reader, got[:1], Retried(0.0, FAILURE))
    await settle(reader, got[1:], ACKED)
    await settle(reader, await take(reader, 1), Rejected("exhausted", FAILURE))
    (letter,) = await letters(transport)
    (result,) = await transport.redrive([letter.id])
    assert (result.message_id, result.receivers, result.error) == ("1", 1, None)
    again = await take(reader)
    assert ids(again) == ["1", "3"]
    assert (again[0].attempt, again[0].redrive, again[0].errors, again[0].message.time) == (1, 1, (), TIME)
    assert await take(other) == []
    assert await letters(transport) == []
    await settle(reader, again[:1], Rejected("rejected"))
    assert [letter.redrives for letter in await letters(transport)] == [1]


async def test_unrouted_is_redriven_to_all_there_are_now() -> None:
    """An unrouted letter stays and says so while nobody takes its channel; then it goes to everyone who does."""
    transport = await opened()
    await publish(transport, "1")
    (letter,) = await letters(transport)
    (stays,) = await transport.redrive([letter.id])
    assert stays.error is not None
    assert "a.b" in stays.error
    readers = [await group(transport), await group(transport, None), await group(transport, channel="a.*")]
    (sent,) = await transport.redrive([letter.id])
    assert (sent.receivers, sent.error) == (3, None)
    for reader in readers:
        assert ids(await take(reader)) == ["1"]
    (unknown,) = await transport.redrive([letter.id])
    assert (unknown.message_id, unknown.receivers) == (None, None)
    assert unknown.error is not None


async def test_letter_of_a_removed_group_stays() -> None:
    """A letter whose group is gone is redriven once there is such a group again."""
    transport = await opened()
    reader = await group(transport)
    await publish(transport, "1")
    await settle(reader, await take(reader), Rejected("rejected"))
    await reader.aclose()
    await transport.remove(GroupId("a.b", "g"))
    (letter,) = await letters(transport)
    assert "no group 'g'" in str((await transport.redrive([letter.id]))[0].error)
    reader = await group(transport)
    assert (await transport.redrive([letter.id]))[0].receivers == 1
    assert ids(await take(reader)) == ["1"]


async def test_letter_of_a_listener_goes_to_living_listeners() -> None:
    """What a listener could not take is redriven to the listeners of that source, not to groups."""
    transport = await opened()
    listener, reader = await group(transport, None), await group(transport)
    await publish(transport, "1")
    await settle(reader, await take(reader))
    await settle(listener, await take(listener), Rejected("overflow"))
    await listener.aclose()
    (letter,) = await letters(transport)
    assert (letter.source, letter.group) == ("a.b", None)
    assert (await transport.redrive([letter.id]))[0].error is not None
    listener = await group(transport, None)
    assert (await transport.redrive([letter.id]))[0].receivers == 1
    assert ids(await take(listener)) == ["1"]
    assert await take(reader) == []


async def test_status_counts_what_is_not_done() -> None:
    """A group's status tells ready, waiting and leased messages, the oldest of them and the living members."""
    clock = VirtualClock()
    transport = await opened(clock=clock)
    reader = await group(transport)
    await publish(transport, *"1234")
    await publish(transport, "5", due=clock.time() + 5)
    await settle(reader, await take(reader, 1), Retried(9.0))
    await take(reader, 2)
    found = await status(transport)
    assert (found.ready, found.waiting, found.leased, found.members) == (1, 2, 2, 1)
    assert (found.source, found.name, found.oldest) == ("a.b", "g", TIME)


@pytest.mark.parametrize("discard", [False, True])
async def test_removed_group_leaves_letters(*, discard: bool) -> None:
    """A removed group's whole backlog becomes dead letters in order, unless it is discarded."""
    clock = VirtualClock()
    transport = await opened(clock=clock)
    reader = await group(transport, ordered=True)
    await publish(transport, "a1", "a2", "b1", keyed=True)
    await publish(transport, "c1", due=clock.time() + 5)
    await settle(reader, await take(reader, 1), Retried(5.0, FAILURE))
    await take(reader)
    with pytest.raises(ConfigurationError, match="living members"):
        await transport.remove(GroupId("a.b", "g"))
    await reader.aclose()
    assert await transport.remove(GroupId("a.b", "g"), discard=discard) == 4
    kept = [(letter.message.id, letter.reason, letter.attempts) for letter in await letters(transport)]
    removed = [("a1", "removed", (FAILURE,)), *((id, "removed", ()) for id in ("a2", "b1", "c1"))]
    assert ([] if discard else removed) == kept
    with pytest.raises(ConfigurationError, match="no group"):
        await transport.remove(GroupId("a.b", "g"))
    assert (await publish(transport, "2"))[0].receivers == 0


async def test_findings_say_that_it_is_memory() -> None:
    """The doctor hears that everything is lost when the process ends, and how much that is now."""
    transport = await opened()
    await group(transport)
    await publish(transport, "1", "2")
    await publish(transport, "3", channel="nobody")
    (finding,) = await transport.findings()
    assert finding.level == "weak"
    assert "lost when the process ends" in finding.text
    assert "2 messages" in finding.text
    assert "1 dead letters" in finding.text
