"""What a bus on a transport that lacks something adds to it, and what it refuses before the first message."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from pabal import Backoff, Bus, CapabilityError, ConfigurationError, Context, Retry, Unrouted
from tests.acceptance.seen import Seen, letters

Altered = Callable[..., str]

AT_ONCE = Backoff(attempts=3, first=0)


async def nothing(body: object) -> None: ...


async def test_every_refusal_is_named_with_its_way_out(altered: Altered) -> None:
    """All that cannot be kept, of all handlers and of the bus, stands in one error, and nothing was subscribed."""
    bus = Bus(altered(lacks="patterns,order,parks,detects_unrouted"), unrouted="raise")
    bus.handler("a", group="g", ordered=True)(nothing)
    bus.listen("b.>")(nothing)
    with pytest.raises(CapabilityError) as refused:
        async with bus.running():
            pass
    text = str(refused.value)
    for need in (
        "nothing (a @ g): order per key is refused",
        "leave out ordered=True",
        "nothing (a @ g): what follows a dead letter waits is refused",
        'on_dead="continue"',
        "nothing (b.>): pattern is refused",
        "subscribe to each channel",
        'the bus: unrouted="raise" is refused',
        "leave out unrouted=",
    ):
        assert need in text
    groups = Bus(altered())
    async with groups:
        receipt = await groups.publish("a", 1)
    assert 0 == receipt.receivers


async def test_the_plan_says_what_running_refuses(altered: Altered) -> None:
    """Asked beforehand, the plan has the very lines; it connects, and subscribes nothing."""
    url = altered(lacks="settles")
    bus = Bus(url)
    bus.handler("a", group="g")(nothing)
    refused = [line for line in await bus.plan() if line.stops]
    assert ["at least once"] == [line.need for line in refused]
    with pytest.raises(CapabilityError, match=refused[0].reason):
        async with bus.running():
            pass
    assert [] == [line for line in await bus.plan(offline=True) if line.stops]


async def test_what_settles_nothing_is_not_pulled(altered: Altered) -> None:
    """Nothing could be given back there, so a consumer has no way to permit it and is told to handle instead."""
    async with Bus(altered(lacks="settles")) as bus:
        with pytest.raises(CapabilityError, match="what is pulled has to be settled: read it with a handler"):
            await bus.consumer("a", group="g").__aenter__()


async def test_a_plan_can_be_asked_for_while_the_bus_is_open(altered: Altered) -> None:
    """An open bus answers for the server it is connected to."""
    async with Bus(altered(lacks="requests")) as bus:
        assert ["request"] == [line.need for line in await bus.plan() if line.verdict == "refused"]


async def test_a_plan_refuses_a_box_that_keeps_nothing(altered: Altered) -> None:
    """A wrong box is wrong in the plan already."""
    bus = Bus("memory://", dead_letters=altered(lacks="parks"))
    with pytest.raises(ConfigurationError, match="keeps no dead letters"):
        await bus.plan()


async def test_dead_letters_without_a_keeper_are_in_the_users_state_folder(
    altered: Altered, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing is settled and nobody was named, a file of the user's keeps them, and the log says where."""
    caplog.set_level(logging.INFO, "pabal")
    url = altered(lacks="settles,parks")
    async with Bus(url) as bus:
        receipt = await bus.publish("a", "nobody is there")
        assert False is receipt.routed
        (letter,) = await letters(bus)
        assert ("unrouted", receipt.id) == (letter.reason, letter.message.id)
    (file,) = (state / "pabal" / "dead-letters").glob("*.db")
    assert 0o700 == file.parent.stat().st_mode & 0o777
    assert [f"sqlite:///{file}"] == [
        word.rstrip(";") for record in caplog.records for word in record.message.split() if "sqlite" in word
    ]
    async with Bus(altered(lacks="settles,parks,patterns")) as same:
        assert [letter.id] == [each.id for each in await letters(same)]


async def test_each_server_has_a_box_of_its_own(altered: Altered, state: Path) -> None:
    """Letters of one server are never sent again to another, nor those of one prefix on it to another."""
    another = "altered://user:secret@another?lacks=settles,parks"
    for url in (altered(lacks="settles,parks"), another, f"{another}&prefix=shop"):
        async with Bus(url) as bus:
            await bus.publish("a", url)
            (letter,) = await letters(bus)
            assert url.encode() == letter.message.body
    names = [path.name for path in (state / "pabal" / "dead-letters").glob("*.db")]
    assert 3 == len(names)
    assert "secret" not in "".join(names)


@pytest.fixture
def blocked(state: Path) -> Path:
    """A state folder that cannot be made, since a file is in its place."""
    state.touch()
    return state


async def test_a_state_folder_that_cannot_be_written_is_told_with_the_way_out(altered: Altered, blocked: Path) -> None:
    """Nothing starts that could lose a dead letter."""
    with pytest.raises(ConfigurationError, match="dead_letters=sqlite"):
        async with Bus(altered(lacks="settles,parks")):
            pass
    async with Bus(altered(lacks="settles,parks"), dead_letters=f"sqlite:///{blocked.parent / 'dead.db'}") as bus:
        await bus.publish("a", 1)
        assert ["unrouted"] == [letter.reason for letter in await letters(bus)]


async def test_nothing_unrouted_is_dropped_in_silence(altered: Altered) -> None:
    """A transport that has no place for dead letters and no box is refused, or the bus says that it drops or raises."""
    url = altered(lacks="parks,groups")
    with pytest.raises(CapabilityError, match="dead_letters="):
        async with Bus(url):
            pass
    async with Bus(url, unrouted="drop") as bus:
        assert False is (await bus.publish("a", 1)).routed
    async with Bus(url, unrouted="raise") as bus:
        with pytest.raises(Unrouted):
            await bus.publish("a", 1)


async def test_a_transport_that_settles_keeps_dead_letters_in_a_channel(altered: Altered, tmp_path: Path) -> None:
    """What fails, is rejected by who pulled it, or finds nobody waits there until a bus with a box takes it."""
    url = altered(lacks="parks")
    bus, failed = Bus(url), Seen()

    @bus.handler("a", group="g", retry=AT_ONCE)
    async def fail(body: int, context: Context) -> None:
        failed.add(context.attempt)
        raise LookupError(body)

    async with bus.running(), bus.consumer("a", group="pulling") as consumer:
        unrouted = await bus.publish("b", "nobody")
        handled = await bus.publish("a", 7)
        (pulled,) = await consumer.pull(wait=5.0)
        await pulled.reject("no use")
        await failed.wait(3)
        with pytest.raises(CapabilityError, match="--box"):
            await letters(bus)
    async with Bus(url, dead_letters=f"sqlite:///{tmp_path / 'dead.db'}") as keeper:
        assert 3 == await keeper.dead_letters.collect(wait=0.2)
        assert 0 == await keeper.dead_letters.collect(wait=0.01)
        found = {letter.group: letter for letter in await letters(keeper)}
    assert {None: "unrouted", "pulling": "rejected", "g": "exhausted"} == {g: each.reason for g, each in found.items()}
    assert [unrouted.id, handled.id, handled.id] == [found[group].message.id for group in (None, "pulling", "g")]
    assert ["LookupError: 7"] * 3 == [failure.error for failure in found["g"].attempts]


@pytest.mark.parametrize("keeper", ["transport", "box", "state"])
async def test_a_failure_is_tried_again_where_nothing_is_settled(keeper: str, altered: Altered, tmp_path: Path) -> None:
    """Permitted to lose, a handler still gets its retries, and its dead letter has every attempt."""
    url = altered(lacks="settles" if keeper == "transport" else "settles,parks")
    bus = Bus(url, dead_letters=f"sqlite:///{tmp_path / 'dead.db'}" if keeper == "box" else None)
    attempts = Seen()

    @bus.handler("a", group="g", delivery="at-most-once", retry=AT_ONCE)
    async def fail(body: int, context: Context) -> None:
        attempts.add(context.attempt)
        raise LookupError(body)

    async with bus.running():
        await bus.publish("a", 7)
        (letter,) = await letters(bus)
    assert [1, 2, 3] == attempts
    assert ("exhausted", "g") == (letter.reason, letter.group)
    assert ["LookupError: 7"] * 3 == [failure.error for failure in letter.attempts]


async def test_what_a_drain_finds_unhandled_where_nothing_is_settled_is_abandoned(altered: Altered) -> None:
    """Nobody else has what waits for its retry or for its turn, so a drain makes dead letters of it."""
    bus, started = Bus(altered(lacks="settles,parks")), Seen()

    @bus.handler("a", group="g", delivery="at-most-once", retry=Backoff(first=1000, most=1000))
    async def handle(body: int) -> None:
        started.add(body)
        if body == 1:
            raise LookupError(body)
        if body == 2:
            await asyncio.get_running_loop().create_future()

    async with bus:
        async with bus.running() as crew:
            await bus.publish_many("a", [1, 2, 3])
            await started.wait(2)
            crew.stop()
            crew.stop()
            await crew.drain()
        abandoned = [letter async for letter in bus.dead_letters.list()]
    assert {b"1": ("abandoned", 1), b"2": ("abandoned", 0), b"3": ("abandoned", 0)} == {
        letter.message.body: (letter.reason, len(letter.attempts)) for letter in abandoned
    }


async def test_a_retry_that_waits_does_not_hold_up_what_comes(altered: Altered) -> None:
    """While a failed message waits in memory, others are received, and it comes again at its time."""
    bus, seen = Bus(altered(lacks="settles,parks")), Seen()

    @bus.handler("a", group="g", delivery="at-most-once")
    async def handle(body: int, context: Context) -> None:
        seen.add((body, context.attempt))
        if body == 1 and context.attempt == 1:
            raise Retry(after=0.05)

    async with bus.running():
        await bus.publish("a", 1)
        await seen.wait(1)
        await bus.publish_many("a", [2, 3])
        await seen.wait(4)
    assert [(1, 1), (2, 1), (3, 1), (1, 2)] == seen
