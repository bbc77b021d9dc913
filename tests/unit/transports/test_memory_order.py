from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pabal.model.clock import VirtualClock
from pabal.model.errors import ConfigurationError
from pabal.model.outcome import ACKED, RELEASED, Outcome, Reason, Rejected, Retried
from pabal.model.transport import Delivery, OnDead, Subscription
from tests.unit.transports.memory import group, ids, letters, opened, publish, settle, status, take


async def test_one_of_a_key_is_out_at_a_time() -> None:
    """Across all members, one message of a key is out at a time, in publish order; without a key all are."""
    transport = await opened()
    readers = [await group(transport, ordered=True), await group(transport, ordered=True)]
    await publish(transport, "a1", "a2", "b1", "b2", "a3", keyed=True)
    await publish(transport, "x", "y")
    first, second = await take(readers[0]), await take(readers[1])
    assert sorted(ids(first + second)) == ["a1", "b1", "x", "y"]
    await settle(readers[0], first)
    await settle(readers[1], second)
    assert ids(await take(readers[1])) == ["a2", "b2"]


async def test_waiting_member_gets_the_next_of_a_key() -> None:
    """Settling one message of a key wakes a member for the next."""
    transport = await opened()
    reader, other = await group(transport, ordered=True), await group(transport, ordered=True)
    await publish(transport, "a1", "a2", keyed=True)
    got = await take(reader)
    waiting = asyncio.ensure_future(other.receive(5))
    await asyncio.sleep(0)
    await settle(reader, got)
    assert ids(await waiting) == ["a2"]


async def test_retry_holds_up_its_key_alone() -> None:
    """While a message waits for its retry the rest of its key waits behind it, other keys go on."""
    clock = VirtualClock()
    transport = await opened(clock=clock)
    reader = await group(transport, ordered=True)
    await publish(transport, "a1", "a2", "b1", "b2", keyed=True)
    got = await take(reader)
    await settle(reader, got[:1], Retried(5.0))
    await settle(reader, got[1:])
    assert ids(await take(reader)) == ["b2"]
    clock.advance(5)
    again = await take(reader)
    assert ids(again) == ["a1"]
    await settle(reader, again)
    assert ids(await take(reader)) == ["a2"]


async def test_delayed_publish_holds_up_nobody() -> None:
    """A message that is not yet due does not hold up its key; it takes its place when it is due."""
    clock = VirtualClock()
    transport = await opened(clock=clock)
    reader = await group(transport, ordered=True)
    await publish(transport, "a1", due=clock.time() + 5, keyed=True)
    await publish(transport, "a2", "a3", keyed=True)
    order = []
    while got := await take(reader):
        clock.advance(5)
        assert len(got) == 1
        order += ids(got)
        await settle(reader, got)
    assert order == ["a2", "a3", "a1"]


async def test_redriven_goes_back_before_what_waits() -> None:
    """A redriven message of a key comes before those of its key that were published later."""
    transport = await opened()
    reader = await group(transport, ordered=True, on_dead="continue")
    await publish(transport, *(f"a{number}" for number in range(1, 5)), keyed=True)
    await settle(reader, await take(reader), Rejected("rejected"))
    second = await take(reader)
    (letter,) = await letters(transport)
    await transport.redrive([letter.id])
    assert await take(reader) == []
    await settle(reader, second, RELEASED)
    order = []
    while got := await take(reader):
        order += ids(got)
        await settle(reader, got)
    assert order == ["a1", "a2", "a3", "a4"]


async def test_a_dead_letter_holds_back_its_key() -> None:
    """What follows it waits in the group until it is redriven, when it goes first, or discarded; other keys go on."""
    transport = await opened()
    reader = await group(transport, ordered=True)
    await publish(transport, "a1", "a2", "b1", keyed=True)
    got = await take(reader)
    assert ids(got) == ["a1", "b1"]
    await settle(reader, got, Rejected("rejected"))
    await publish(transport, "a3", "b2", "c1", keyed=True)
    assert ids(await take(reader)) == ["c1"]
    found = await status(transport)
    assert (found.ready, found.waiting, found.leased) == (0, 3, 1)
    dead = {letter.message.id: letter.id for letter in await letters(transport)}

    await transport.redrive([dead["a1"]])
    for _ in range(2):  # and it may die again
        again = await take(reader)
        assert ids(again) == ["a1"]
        await settle(reader, again, Rejected("rejected"))
        assert await take(reader) == []
        dead = {letter.message.id: letter.id for letter in await letters(transport)}
        await transport.redrive([dead["a1"]])
    order: list[str] = []
    await transport.discard([dead["b1"]])
    while got := await take(reader):
        order += ids(got)
        await settle(reader, got)
    assert sorted(order) == ["a1", "a2", "a3", "b2"]
    assert [id for id in order if id[0] == "a"] == ["a1", "a2", "a3"]


async def test_without_a_key_a_dead_letter_holds_back_nothing() -> None:
    """Messages without a key have no order."""
    transport = await opened()
    reader = await group(transport, ordered=True)
    await publish(transport, "x", "y")
    await settle(reader, (await take(reader))[:1], Rejected("rejected"))
    await publish(transport, "z")
    assert ids(await take(reader)) == ["z"]
    await transport.discard([letter.id for letter in await letters(transport)])


@pytest.mark.parametrize("reason", ["abandoned", "overflow", "removed", "unrouted"])
async def test_only_what_ended_in_the_group_holds_back_its_key(reason: Reason) -> None:
    """What died of something else than its handler, its body or its time holds back nothing."""
    transport = await opened()
    reader = await group(transport, ordered=True)
    await publish(transport, "a1", "a2", keyed=True)
    await settle(reader, await take(reader), Rejected(reason))
    assert ids(await take(reader)) == ["a2"]
    listener = await group(transport, None, ordered=True)
    await publish(transport, "b1", "b2", keyed=True)
    await settle(listener, await take(listener), Rejected("rejected"))
    assert ids(await take(listener)) == ["b2"]
    with pytest.raises(ConfigurationError, match="on_dead is one of park, continue"):
        await group(transport, ordered=True, on_dead="drop")


async def test_mode_is_one_for_all_members() -> None:
    """A group is read in one way; that can change only while it has neither a living member nor a backlog."""
    transport = await opened()
    reader = await group(transport, ordered=True)
    with pytest.raises(ConfigurationError, match="ordered"):
        await group(transport)
    with pytest.raises(ConfigurationError, match="park"):
        await group(transport, ordered=True, on_dead="continue")
    await publish(transport, "a1", "a2", "a3", keyed=True)
    await settle(reader, await take(reader), Retried(0.0))
    await reader.aclose()
    with pytest.raises(ConfigurationError, match="backlog of 3"):
        await group(transport)
    reader = await group(transport, ordered=True)
    for id in ("a1", "a2", "a3"):
        got = await take(reader)
        assert ids(got) == [id]
        await settle(reader, got)
    await reader.aclose()
    reader = await group(transport)
    await publish(transport, "a1", "a2", keyed=True)
    assert ids(await take(reader)) == ["a1", "a2"]


OUTCOMES: list[Outcome] = [ACKED, ACKED, RELEASED, Retried(0.0), Retried(3.0), Rejected("rejected")]
STEP = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from("ab-")),
    st.tuples(st.just("take"), st.integers(0, 1)),
    st.tuples(st.just("settle"), st.sampled_from(OUTCOMES)),
    st.tuples(st.just("advance"), st.sampled_from([1.0, 4.0, 11.0])),
    st.tuples(st.just("close"), st.integers(0, 1)),
    st.tuples(st.just("redrive"), st.none()),
)


class Story:
    """A group of two members through any sequence of events, with what must hold checked on the way."""

    def __init__(self, *, ordered: bool, on_dead: OnDead) -> None:
        self.ordered = ordered
        self.on_dead = on_dead
        self.clock = VirtualClock()
        self.published: list[str] = []
        self.acked: list[str] = []
        self.out: list[tuple[Subscription, Delivery]] = []

    async def play(self, steps: list[tuple[str, object]]) -> None:
        self.transport = await opened("memory://?lease=10", self.clock)
        self.readers = [await group(self.transport, ordered=self.ordered, on_dead=self.on_dead) for _ in range(2)]
        for verb, what in steps:
            await getattr(self, verb)(what)
            assert len(self.published) == await self.count()
        await self.finish()

    async def count(self) -> int:
        (found,) = await self.transport.groups()
        dead = len(await letters(self.transport))
        return found.ready + found.waiting + found.leased + dead + len(self.acked)

    async def publish(self, key: str) -> None:
        id = f"{key}{len(self.published)}"
        self.published.append(id)
        await publish(self.transport, id, keyed=key != "-")

    async def take(self, number: object) -> None:
        reader = self.readers[int(str(number))]
        self.out += [(reader, delivery) for delivery in await take(reader)]
        await self.check_keys()

    async def check_keys(self) -> None:
        ours = []
        for reader, delivery in self.out:
            if not await reader.extend([delivery]):
                ours.append((reader, delivery))
        self.out = ours
        keys = [delivery.message.key for _, delivery in ours if delivery.message.key]
        assert not self.ordered or len(set(keys)) == len(keys)

    async def settle(self, outcome: Outcome) -> None:
        if not self.out:
            return
        reader, delivery = self.out.pop(0)
        if (await settle(reader, [delivery], outcome))[0].name == "DONE" and outcome is ACKED:
            self.acked.append(delivery.message.id)

    async def close(self, number: object) -> None:
        await self.readers[int(str(number))].aclose()
        self.readers[int(str(number))] = await group(self.transport, ordered=self.ordered, on_dead=self.on_dead)

    async def redrive(self, _: object) -> None:
        await self.transport.redrive([letter.id for letter in await letters(self.transport)])

    async def finish(self) -> None:
        """Everything is settled in the end, and of one key whatever was left comes in publish order."""
        await self.redrive(None)
        for reader in self.readers:
            await reader.aclose()
        self.clock.advance(20)
        reader = await group(self.transport, ordered=self.ordered, on_dead=self.on_dead)
        rest: list[str] = []
        while got := await take(reader):
            rest += ids(got)
            await settle(reader, got)
        assert sorted(self.published) == sorted(self.acked + rest)
        for key in "ab":
            of_key = [id for id in rest if id[0] == key]
            assert sorted(of_key, key=self.published.index) == of_key
        await self.transport.aclose()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


@given(ordered=st.booleans(), on_dead=st.sampled_from(["park", "continue"]), steps=st.lists(STEP, max_size=40))
def test_nothing_is_lost_and_keys_keep_their_order(
    *, ordered: bool, on_dead: OnDead, steps: list[tuple[str, object]]
) -> None:
    """Whatever happens to a group, each message is ready, waiting, leased, dead or acked, and keys keep their order."""
    asyncio.run(Story(ordered=ordered, on_dead=on_dead).play(steps))
