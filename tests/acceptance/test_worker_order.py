"""Order kept by the worker, on a transport that hands out several messages of one key at once."""

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pabal import Backoff, Bus, CapabilityError, Context, Outgoing, Reject, Retry
from pabal.model.outcome import Acked, Rejected, Released, Retried
from pabal.runtime.batch import Batch
from pabal.testing import VirtualClock
from tests.acceptance.lines import Lines
from tests.acceptance.seen import Seen, letters, until

KEYS = ("a", "b", "c", "d")


def line(*keys: str, each: int) -> list[Outgoing[str]]:
    """Messages of all keys, taking turns: a0, b0, ..., a1, b1, ..."""
    return [Outgoing(f"{key}{number}", key=key) for number in range(each) for key in keys]


async def test_keys_run_apart_and_beside_each_other(lines: Lines) -> None:
    """Of one key one message at a time runs, in order; the others of the concurrency run other keys."""
    bus, seen, running, most = Bus(lines.url), Seen(), set[str](), 0

    @bus.handler("a", group="g", ordered=True, concurrency=3)
    async def handler(body: str) -> None:
        nonlocal most
        assert body[0] not in running, "two of one key at once"
        running.add(body[0])
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.remove(body[0])
        seen.add(body)

    async with bus.running() as crew:
        await bus.publish_many("a", line(*KEYS, each=20))
        got = await seen.wait(80)
    assert max(lines.most_out.values()) > 1
    assert most == 3
    for key in KEYS:
        assert [body for body in got if body[0] == key] == [f"{key}{number}" for number in range(20)]
    assert [counters.acked for counters in crew.report.handlers.values()] == [80]


async def test_messages_without_a_key_have_no_order(lines: Lines) -> None:
    """What has no key waits for nobody."""
    bus, seen, gate = Bus(lines.url), Seen(), asyncio.Event()

    @bus.handler("a", group="g", ordered=True, concurrency=3)
    async def handler(body: str) -> None:
        seen.add(body)
        await gate.wait()

    async with bus.running():
        await bus.publish_many("a", ["x", "y", "z"])
        assert sorted(await seen.wait(3)) == ["x", "y", "z"]
        gate.set()


async def test_what_stands_behind_a_retry_is_given_back_with_it(lines: Lines) -> None:
    """A retry and the release of what the worker holds of its key are one settlement; the other keys go on."""
    clock = VirtualClock()
    bus, seen, gate = Bus(lines.url, clock=clock), Seen(), asyncio.Event()

    @bus.handler("a", group="g", ordered=True, concurrency=2)
    async def handler(body: str, context: Context) -> None:
        seen.add(body)
        if body == "a0" and context.attempt == 1:
            await gate.wait()
            raise Retry(after=5.0)

    async with bus.running():
        await bus.publish_many("a", line("a", "b", each=30))
        await until(lambda: len(seen) == 31)  # all of b have run meanwhile
        gate.set()
        await until(lambda: any(("a0", Retried) in call for call in lines.calls))
        (call,) = [call for call in lines.calls if ("a0", Retried) in call]
        assert len(call) > 1
        assert call == [("a0", Retried), *((f"a{number}", Released) for number in range(1, len(call)))]
        clock.advance(5.0)
        assert [body for body in await seen.wait(61) if body[0] == "a"] == ["a0", *(f"a{n}" for n in range(30))]


@pytest.mark.parametrize("on_dead", ["park", "continue"])
async def test_what_stands_behind_a_dead_letter(lines: Lines, on_dead: Any) -> None:
    """Behind a message that died, those of its key are given back to wait, or run where the handler says so."""
    bus, seen, gate = Bus(lines.url), Seen(), asyncio.Event()

    @bus.handler("a", group="g", ordered=True, on_dead=on_dead)
    async def handler(body: str) -> None:
        seen.add(body)
        if body == "a0":
            await gate.wait()
            raise Reject

    async with bus.running():
        await bus.publish_many("a", line("a", each=2))
        await until(lambda: lines.most_out["a"] > 1)
        gate.set()
        if on_dead == "continue":
            assert await seen.wait(2) == ["a0", "a1"]
            return
        await bus.publish("a", "b0", key="b")
        assert await seen.wait(2) == ["a0", "b0"]
        assert lines.calls[0] == [("a0", Rejected), ("a1", Released)]
    assert [source.on_dead for source in lines.sources] == [on_dead]


async def test_what_arrives_of_a_key_that_goes_back_goes_back_too(lines: Lines) -> None:
    """What was sent before the transport knew of a retry does not overtake it."""
    bus, seen, settling, gate = Bus(lines.url), Seen(), asyncio.Event(), asyncio.Event()

    async def wait_once() -> None:
        settling.set()
        await gate.wait()

    lines.before_settle = wait_once

    @bus.handler("a", group="g", ordered=True, retry=Backoff(first=0.0))
    async def handler(body: str, context: Context) -> None:
        seen.add(body)
        if body == "a0" and context.attempt == 1:
            await asyncio.sleep(0)  # the worker asks for more meanwhile
            raise ValueError

    async with bus.running():
        await bus.publish("a", "a0", key="a")
        await settling.wait()
        await bus.publish("a", "a1", key="a")
        await until(lambda: lines.most_out["a"] == 2)
        gate.set()
        assert await seen.wait(3) == ["a0", "a0", "a1"]
    assert lines.calls[0] == [("a0", Retried)]
    assert ("a1", Released) in lines.calls[1]


async def test_a_blocked_key_holds_at_most_half_the_window(lines: Lines) -> None:
    """A key with a long backlog and a slow message leaves room for the others."""
    bus, seen, gate = Bus(lines.url), Seen(), asyncio.Event()

    @bus.handler("a", group="g", ordered=True, concurrency=2)
    async def handler(body: str) -> None:
        if body == "a0":
            await gate.wait()
        seen.add(body)

    async with bus.running():
        await bus.publish_many("a", [*line("a", each=500), *line("b", each=500)])
        assert await seen.wait(500) == [f"b{number}" for number in range(500)]
        assert lines.most_out["a"] <= 100
        gate.set()
        assert (await seen.wait(1000))[500:] == [f"a{number}" for number in range(500)]


@pytest.mark.parametrize("batch", [None, Batch(4, wait=0.0)], ids=["single", "batch"])
@pytest.mark.parametrize("seed", range(8))
async def test_any_mix_of_failures_keeps_each_key_in_order(lines: Lines, seed: int, batch: Batch | None) -> None:
    """Whatever fails when, each message of a key runs only after those before it are done, or dead."""
    chance = random.Random(seed)  # noqa: S311 - to choose what fails
    bus, done, finished = Bus(lines.url), defaultdict[str, list[str]](list), Seen()
    fails = {f"{key}{number}": chance.choice([0, 0, 0, 1, 2]) for key in KEYS for number in range(25)}
    running: set[str] = set()

    async def attempt(body: str) -> None:
        assert body[0] not in running
        running.add(body[0])
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        running.remove(body[0])
        if fails[body]:
            fails[body] -= 1
            raise Retry(after=0.0)
        done[body[0]].append(body)
        finished.add(body)

    async def single(body: str) -> None:
        await attempt(body)

    async def many(bodies: list[str]) -> None:
        assert len({body[0] for body in bodies}) == len(bodies), "two of one key in a batch"
        for body in bodies:
            await attempt(body)

    handler = single if batch is None else many
    if batch is not None:  # a batch fails as a whole, so only its first may
        fails = dict.fromkeys(fails, 0)
        fails["a0"] = fails["b7"] = 1
    bus.handler("a", group="g", ordered=True, concurrency=3, batch=batch, retry=Backoff(attempts=1000, first=0.0))(
        handler
    )
    async with bus.running():
        await bus.publish_many("a", line(*KEYS, each=25))
        await finished.wait(100)
    for key in KEYS:
        assert list(dict.fromkeys(done[key])) == [f"{key}{number}" for number in range(25)]


async def test_a_drain_gives_back_whole_lines(lines: Lines) -> None:
    """What stands behind a running message at a drain is given back, and the running one may end."""
    bus, started, gate = Bus(lines.url), asyncio.Event(), asyncio.Event()

    @bus.handler("a", group="g", ordered=True)
    async def handler(body: str) -> None:
        started.set()
        await gate.wait()

    async with bus.running() as crew:
        await bus.publish_many("a", line("a", each=2))
        await started.wait()
        await until(lambda: lines.most_out["a"] == 2)
        draining = asyncio.create_task(crew.drain())
        await until(lambda: lines.calls)
        gate.set()
        await draining
    assert lines.calls == [[("a1", Released)], [("a0", Acked)]]


async def test_a_dead_letter_kept_elsewhere_cannot_hold_back_its_key(tmp_path: Path, lines: Lines) -> None:
    """With dead_letters=URL the transport cannot know whose key has one: refused, until on_dead says continue."""

    def bus(**options: Any) -> Bus:
        bus = Bus(lines.url, dead_letters=f"sqlite:///{tmp_path / 'dead.db'}")

        @bus.handler("a", group="g", ordered=True, **options)  # type: ignore[untyped-decorator]  # by its options
        async def handler(body: str) -> None:
            seen.add(body)
            if body == "a0":
                raise Reject

        return bus

    seen = Seen()
    with pytest.raises(CapabilityError, match='on_dead="continue"'):
        async with bus().running():
            pass
    going_on = bus(on_dead="continue")
    async with going_on.running():
        await going_on.publish_many("a", line("a", each=3))
        assert await seen.wait(3) == ["a0", "a1", "a2"]


@pytest.mark.parametrize("on_dead", ["park", "continue"])
async def test_a_dead_letter_and_its_key(url: str, on_dead: Any) -> None:
    """What follows a dead letter of its key waits until that is redriven, or runs where the handler says so."""
    bus, seen, mended = Bus(url), Seen(), False

    @bus.handler("a", group="g", ordered=True, concurrency=2, on_dead=on_dead)
    async def handler(body: str) -> None:
        if body == "a1" and not mended:
            raise Reject("not yet")
        seen.add(body)

    async with bus.running():
        await bus.publish_many("a", line("a", "b", each=3))
        if on_dead == "continue":
            assert sorted(await seen.wait(5)) == ["a0", "a2", "b0", "b1", "b2"]
            return
        (letter,) = await letters(bus)
        assert sorted(await seen.wait(4)) == ["a0", "b0", "b1", "b2"]
        mended = True
        await bus.dead_letters.redrive([letter.id])
        assert (await seen.wait(6))[4:] == ["a1", "a2"]
