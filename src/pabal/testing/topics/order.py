"""Order: messages of one key one after another, across an ordered group."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

from msgspec.structs import replace

from pabal.model.errors import CapabilityError, ConfigurationError
from pabal.model.message import Message
from pabal.model.outcome import ACKED, RELEASED, Outcome, Retried
from pabal.model.transport import Delivery, Settled, Source
from pabal.testing.broken import PromiseBroken, expect, expect_that
from pabal.testing.promise import ORDER_BY_CHANNEL, ORDER_BY_KEY, SETTLES_EACH, has, lacks, promise
from pabal.testing.stage import Reader, Stage, ids, raised

DELAY = 2.0
LEASE = 3.0
KEYS = tuple(f"key-{number}" for number in range(5))
EACH = 12

Decide = Callable[[str, int], Outcome]
"""How an attempt at a key's message of this number ends."""


def _key(message: Message) -> str:
    return message.key or ""


class _Handled:
    """What the members of a group did, line by line: by default a line is a key."""

    def __init__(self, stage: Stage, decide: Decide, line: Callable[[Message], str] = _key) -> None:
        self.attempts: dict[str, list[int]] = defaultdict(list)
        self._stage = stage
        self._decide = decide
        self._line = line
        self._at: dict[str, Reader] = {}
        self._changed = asyncio.Event()

    async def member(self, reader: Reader, batches: int | None = None) -> None:
        """Take and settle; after a retry what follows of that key in the same batch is given back.

        After so many `batches` it closes with the next in hand; None: it goes on for ever.
        """
        for number in count():
            got = await reader.subscription.receive(10)
            if number == batches:
                await reader.close()
                return
            settled = [Settled(delivery, outcome) for delivery, outcome in self._outcomes(reader, got)]
            await asyncio.sleep(0)  # the others have their turn while these are in hand
            for delivery in got:
                self._at.pop(self._line(delivery.message), None)
            await reader.settle_each(settled)
            self._changed.set()

    def _outcomes(self, reader: Reader, got: Sequence[Delivery]) -> list[tuple[Delivery, Outcome]]:
        held_up: set[str] = set()
        outcomes: list[tuple[Delivery, Outcome]] = []
        for delivery in got:
            key, number = self._line(delivery.message), int(delivery.message.body)
            if self._at.setdefault(key, reader) is not reader:
                raise PromiseBroken(f"Expected one member to have {key} in hand, got two at a time.")
            if key in held_up:
                outcomes.append((delivery, RELEASED))
                continue
            self.attempts[key].append(number)
            outcome = self._decide(key, number)
            if isinstance(outcome, Retried):
                held_up.add(key)
            outcomes.append((delivery, outcome))
        return outcomes

    async def until(self, enough: Callable[[], bool], what: str) -> None:
        """Wait until `enough`."""
        while not enough():
            self._changed.clear()
            try:
                async with self._stage.within(what):
                    await self._changed.wait()
            except PromiseBroken as broken:
                raise PromiseBroken(f"{broken} Attempts so far: {dict(self.attempts)}.") from None


def _line(stage: Stage, channel: str) -> list[Message]:
    """Messages of all keys, taking turns."""
    return [stage.message(channel, str(number).encode(), key=key) for number in range(EACH) for key in KEYS]


@promise(has("groups", "order", "settles"))
async def keys_stay_in_order(stage: Stage) -> None:
    """Three members handle the messages of each key one after another, in order, through retries."""
    connections, channel = [await stage.connect() for _ in range(3)], stage.channel("ordered")
    readers = [await stage.subscribe(each, channel, "ordered", ordered=True, window=10) for each in connections]
    failed: set[tuple[str, int]] = set()

    def decide(key: str, number: int) -> Outcome:
        if number % 4 != 3 or (key, number) in failed:
            return ACKED
        failed.add((key, number))
        return Retried(0.0, stage.failure(1, "once"))

    handled = _Handled(stage, decide)
    expected = sorted([*range(EACH), *range(3, EACH, 4)])
    async with asyncio.TaskGroup() as tasks:
        members = [tasks.create_task(handled.member(reader), name="member") for reader in readers]
        line = _line(stage, channel)
        for start in range(0, len(line), 7):
            await stage.publish(connections[0], line[start : start + 7])
        attempts = handled.attempts
        await handled.until(lambda: all(len(attempts[key]) >= len(expected) for key in KEYS), "every key to be done")
        for member in members:
            member.cancel()
    for key in KEYS:
        expect(handled.attempts[key], expected, f"the attempts of {key} in their order")


@promise(has("groups", "settles"), ORDER_BY_CHANNEL)
async def channel_stays_in_order(stage: Stage) -> None:
    """Where a channel is one line, three members handle all of it in order, whatever the keys, through retries."""
    connections, channel = [await stage.connect() for _ in range(3)], stage.channel("ordered")
    readers = [await stage.subscribe(each, channel, "ordered", ordered=True, window=10) for each in connections]
    failed: set[int] = set()

    def decide(_key: str, number: int) -> Outcome:
        if number % 4 != 3 or number in failed:
            return ACKED
        failed.add(number)
        return Retried(0.0, stage.failure(1, "once"))

    handled = _Handled(stage, decide, lambda _message: channel)
    messages = [
        stage.message(channel, str(number).encode(), key=key) for number, key in enumerate([*KEYS, None] * (EACH // 2))
    ]
    expected = sorted([*range(len(messages)), *range(3, len(messages), 4)])
    async with asyncio.TaskGroup() as tasks:
        members = [tasks.create_task(handled.member(reader), name="member") for reader in readers]
        for start in range(0, len(messages), 7):
            await stage.publish(connections[0], messages[start : start + 7])
        attempts = handled.attempts[channel]
        await handled.until(lambda: len(attempts) >= len(expected), "the whole channel to be done")
        for member in members:
            member.cancel()
    expect(attempts, expected, "the attempts in their order")


@promise(has("groups", "delays_retry"), SETTLES_EACH, ORDER_BY_KEY)
async def retry_holds_up_its_key_alone(stage: Stage) -> None:
    """While one key waits for a retry nothing of it comes and every other key goes on; then it goes on in order."""
    connections, channel = [await stage.connect() for _ in range(3)], stage.channel("ordered")
    readers = [await stage.subscribe(each, channel, "ordered", ordered=True, window=10) for each in connections]
    failing, others = KEYS[0], KEYS[1:]
    failed: list[int] = []

    def decide(key: str, number: int) -> Outcome:
        if key != failing or number != 3 or failed:
            return ACKED
        failed.append(number)
        return Retried(DELAY, stage.failure(1, "later"))

    handled = _Handled(stage, decide)
    attempts = handled.attempts
    async with asyncio.TaskGroup() as tasks:
        members = [tasks.create_task(handled.member(reader), name="member") for reader in readers]
        await stage.publish(connections[0], _line(stage, channel))
        await handled.until(
            lambda: bool(failed) and all(len(attempts[key]) >= EACH for key in others),
            "every other key to be done while one waits",
        )
        expect(attempts[failing], [0, 1, 2, 3], "the attempts of the key that waits")
        await stage.pass_time(DELAY + 0.001)
        await handled.until(lambda: len(attempts[failing]) >= EACH + 1, "the key that waited to be done")
        for member in members:
            member.cancel()
    expect(attempts[failing], [0, 1, 2, 3, *range(3, EACH)], "the attempts of the key that waited, in their order")
    for key in others:
        expect(attempts[key], list(range(EACH)), f"the attempts of {key} in their order")


@promise(has("groups", "order"), SETTLES_EACH)
async def order_outlives_closing(stage: Stage) -> None:
    """What a closed member of an ordered group gives back keeps its place before what follows of its key."""
    transport, channel = await stage.connect(), stage.channel("ordered")
    messages = [stage.message(channel, str(number).encode(), key="one") for number in range(10)]
    reader = await stage.subscribe(transport, channel, "ordered", ordered=True)
    await stage.publish(transport, messages)
    numbers: list[int] = []
    for _ in range(4):
        got = await reader.some(3)
        await reader.done(got[:1], ACKED)
        numbers += [int(delivery.message.body) for delivery in got[:1]]
        if len(got) == 1:
            await reader.some(3)
        await reader.close()
        reader = await stage.subscribe(transport, channel, "ordered", ordered=True)
    numbers += [int(delivery.message.body) for _ in range(6) for delivery in await reader.handle(1)]
    expect(numbers, list(range(10)), "the order in which one key is done")


def _has(attempts: Mapping[str, Sequence[int]], most: int) -> bool:
    return max(map(len, attempts.values()), default=0) >= most


@promise(has("groups", "order"), SETTLES_EACH)
async def order_outlives_coming_and_going(stage: Stage) -> None:
    """Members come, and close with messages in hand: each key is handled in order all the same, and whole."""
    connections, channel = [await stage.connect() for _ in range(5)], stage.channel("ordered")
    readers = [await stage.subscribe(each, channel, "ordered", ordered=True, window=10) for each in connections[:3]]
    handled, line = _Handled(stage, lambda _key, _number: ACKED), _line(stage, channel)
    attempts = handled.attempts
    async with asyncio.TaskGroup() as tasks:
        members = [
            tasks.create_task(handled.member(reader, batches), name="member")
            for reader, batches in zip(readers, (None, 2, 3), strict=True)
        ]
        for connection, start in zip(connections[2:], range(0, len(line), len(line) // 3), strict=True):
            await stage.publish(connections[0], line[start : start + len(line) // 3])
            await handled.until(partial(_has, attempts, start // len(KEYS)), "some of a key to be done")
            reader = await stage.subscribe(connection, channel, "ordered", ordered=True, window=10)
            members.append(tasks.create_task(handled.member(reader), name="member"))
        await handled.until(lambda: all(len(attempts[key]) >= EACH for key in KEYS), "every key to be done")
        for member in members:
            member.cancel()
    for key in KEYS:
        expect(attempts[key], list(range(EACH)), f"the attempts of {key} in their order")


@promise(has("groups", "order"), SETTLES_EACH)
async def order_outlives_silence(stage: Stage) -> None:
    """What a member has in hand that gives no sign of life comes to others before what follows of its key."""
    connections, channel = [await stage.connect(lease=LEASE) for _ in range(3)], stage.channel("ordered")
    readers = [await stage.subscribe(each, channel, "ordered", ordered=True, window=5) for each in connections]
    handled = _Handled(stage, lambda _key, _number: ACKED)
    attempts = handled.attempts
    async with asyncio.TaskGroup() as tasks:
        await stage.publish(connections[0], _line(stage, channel))
        silent = await readers[0].some(5)
        members = [tasks.create_task(handled.member(reader), name="member") for reader in readers[1:]]
        if readers[0].subscription.lease is not None:
            await stage.live(connections[1], LEASE * 1.5, step=LEASE / 12)
        await readers[0].close()
        await handled.until(lambda: all(len(attempts[key]) >= EACH for key in KEYS), "every key to be done")
        for member in members:
            member.cancel()
    expect_that(len(silent) > 0, "the silent member to have something in hand", silent)
    for key in KEYS:
        expect(attempts[key], list(range(EACH)), f"the attempts of {key} in their order")


@promise(has("groups", "order", "administers"))
async def group_is_read_one_way(stage: Stage) -> None:
    """A group is read ordered or not, with one on_dead; only who takes changes that, without members and a backlog."""
    transport, other, channel = await stage.connect(), await stage.connect(), stage.channel("one-way")
    ways = [
        Source(channel, "group", ordered=True),
        Source(channel, "group", ordered=True, on_dead="continue"),
        Source(channel, "group"),
    ]
    for way in ways:
        reader = await stage.subscribe(transport, channel, "group", ordered=way.ordered, on_dead=way.on_dead)
        messages = stage.messages(channel, 1)
        for there in ("living members", "a backlog"):
            for another in ways:
                if another != way:
                    error = await raised(other.subscribe, another)
                    expect_that(
                        isinstance(error, ConfigurationError), f"ConfigurationError while there are {there}", error
                    )
            if there == "living members":
                await reader.close()
                await stage.publish(transport, messages)
        reader = await stage.subscribe(other, channel, "group", ordered=way.ordered, on_dead=way.on_dead)
        expect(ids(await reader.handle(1)), ids(messages), "what is read the one way")
        await reader.close()
        for another in ways:
            if another != way:
                error = await raised(other.subscribe, replace(another, window=0))
                expect_that(
                    isinstance(error, ConfigurationError), "ConfigurationError for one that takes nothing yet", error
                )


@promise(has("groups"), lacks("order"))
async def order_is_refused(stage: Stage) -> None:
    """A transport that keeps no order refuses an ordered subscription."""
    transport = await stage.connect()
    source = Source(stage.channel("ordered"), "ordered", ordered=True)
    error = await raised(transport.subscribe, source)
    expect_that(isinstance(error, CapabilityError), "an ordered subscription to raise CapabilityError", error)
