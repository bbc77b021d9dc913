"""Redrives that are rehearsed, paced, stopped at a failure, and cancelled."""

import asyncio
from pathlib import Path

import pytest

from pabal import Backoff, Bus, ConfigurationError
from pabal.model.clock import VirtualClock
from pabal.model.dead import Redriven
from pabal.model.transport import GroupId
from tests.acceptance.seen import Seen, letters, until


@pytest.fixture(params=[False, True], ids=["own box", "box elsewhere"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return f"sqlite:///{tmp_path / 'dead.db'}?synchronous=normal" if request.param else None


class Shop:
    """A bus with a handler of numbers: it fails on those in `bad`, sees the others, and can be held."""

    def __init__(
        self, url: str, box: str | None = None, *, attempts: int = 1, clock: VirtualClock | None = None
    ) -> None:
        self.bus = Bus(url, dead_letters=box, clock=clock, retry=Backoff(attempts=attempts, first=0))
        self.seen = Seen()
        self.bad = set(range(100))
        self.held = asyncio.Event()
        self.held.set()

        @self.bus.handler("a", group="g")
        async def handle(number: int) -> None:
            await self.held.wait()
            if number in self.bad:
                raise ValueError(f"{number} is bad")
            self.seen.add(number)

    async def fill(self, count: int) -> list[str]:
        """As many dead letters, of 0 and up; returns their ids."""
        for number in range(count):
            await self.bus.publish("a", number)
            await letters(self.bus, number + 1)
        self.bad.clear()
        return [letter.id for letter in await letters(self.bus, count)]


async def test_a_dry_run_sends_nothing(url: str, box: str | None) -> None:
    """It says of each letter whom it would go to, or why it would stay, and everything is as it was."""
    shop = Shop(url, box)
    async with shop.bus.running():
        (id,) = await shop.fill(1)
        await shop.bus.publish("nobody.b", "x")
        failed, unrouted = await letters(shop.bus, 2)
        before = await letters(shop.bus, 2)
        results = await shop.bus.dead_letters.redrive(all=True, dry_run=True)
        assert [
            Redriven(id, failed.message.id, to=("g of a",)),
            Redriven(unrouted.id, unrouted.message.id, to=("whoever may listen to nobody.b",)),
        ] == list(results)
        assert before == await letters(shop.bus, 2)
        assert [] == shop.seen
        (none,) = await shop.bus.dead_letters.redrive(["unknown"], dry_run=True)
        assert ("unknown", None) == (none.id, none.message_id)
        assert none.error is not None
    assert [] == shop.seen


async def test_a_dry_run_finds_the_groups_there_are(url: str) -> None:
    """What was unrouted would go to the groups that are there now; a letter of a removed group would stay."""
    async with Bus(url) as bus:
        for group in ("goes", "stays"):
            async with bus.consumer("a.b", group=group):
                pass
        await bus.publish("a.b", "x")
        async with bus.consumer("a.b", group="goes") as consumer:
            (delivery,) = await consumer.pull(wait=5)
            await delivery.reject("no")
        await bus.publish("a.c", "y")
        assert bus._connection is not None
        assert 0 == await bus._connection.transport.remove(GroupId("a.b", "goes"))  # type: ignore[attr-defined]
        async with bus.consumer("a.>", group="late"):
            pass
        gone, unrouted = await bus.dead_letters.redrive(all=True, dry_run=True)
        assert "there is no group 'goes' of 'a.b'" == gone.error
        assert ((), ("late of a.>", "whoever may listen to a.c")) == (gone.to, unrouted.to)


async def test_a_redrive_keeps_its_rate(url: str) -> None:
    """By the bus's clock, one at a time; cancelled in between, what was sent stays sent and the rest stays dead."""
    clock = VirtualClock()
    shop = Shop(url, clock=clock)
    async with shop.bus.running():
        await shop.fill(6)
        told: list[Redriven] = []
        redriving = asyncio.ensure_future(shop.bus.dead_letters.redrive(all=True, rate=2, progress=told.extend))
        for sent in (1, 2, 3):
            await shop.seen.wait(sent)
            await until(lambda sent=sent: len(told) == sent)  # type: ignore[misc]
            clock.advance(0.4)
            for _ in range(20):
                await asyncio.sleep(0)
            assert sent == len(told)
            if sent < 3:
                clock.advance(0.1)
        redriving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await redriving
        assert [3, 4, 5] == [int(letter.message.body) for letter in await letters(shop.bus, 3)]
    assert [0, 1, 2] == shop.seen


async def test_a_fast_rate_goes_in_small_steps(url: str) -> None:
    """A thousand a second is no thousand transactions, and no burst either."""
    shop = Shop(url)
    async with shop.bus.running():
        await shop.fill(90)
        steps: list[int] = []
        await shop.bus.dead_letters.redrive(all=True, rate=800, progress=lambda results: steps.append(len(results)))
        await shop.seen.wait(90)
    assert [40, 40, 10] == steps


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
async def test_a_rate_is_more_than_nothing(url: str, rate: float) -> None:
    """Anything else would never end."""
    async with Bus(url) as bus:
        with pytest.raises(ConfigurationError, match="rate is messages a second"):
            await bus.dead_letters.redrive(all=True, rate=rate)
        with pytest.raises(ConfigurationError, match="patience is seconds"):
            await bus.dead_letters.redrive(all=True, stop_on_failure=True, patience=-1)


async def test_stops_at_the_first_that_dies_again(url: str) -> None:
    """It waits for each to be handled; after a new failure the rest stays, and the result names the new letter."""
    shop = Shop(url, attempts=3)
    async with shop.bus.running():
        ids = await shop.fill(5)
        shop.bad.add(2)
        told: list[Redriven] = []
        results = await shop.bus.dead_letters.redrive(all=True, stop_on_failure=True, patience=60, progress=told.extend)
        again, *rest = [letter for letter in await letters(shop.bus, 3) if int(letter.message.body) == 2]
        assert [] == rest
        assert ids[:3] == [result.id for result in results]
        assert [None, None] == [result.error for result in results[:2]]
        error = f"it was sent, and became dead letter {again.id} (exhausted: ValueError: 2 is bad)"
        assert error == results[2].error
        assert (1, 1, again.id) == (results[2].receivers, again.redrives, results[2].became)
        assert {2, 3, 4} == {int(letter.message.body) for letter in await letters(shop.bus, 3)}
        assert [0, 1] == shop.seen
        assert [*ids[:3], ids[2]] == [result.id for result in told]
        shop.bad.clear()
        results = await shop.bus.dead_letters.redrive(all=True, stop_on_failure=True)
        assert [None] * 3 == [result.error for result in results]
    assert [0, 1, 2, 3, 4] == sorted(shop.seen)


async def test_stops_at_what_cannot_be_sent(url: str, box: str | None) -> None:
    """A letter that nobody takes is a failure at once, wherever the letters are."""
    shop = Shop(url, box)
    async with shop.bus.running():
        await shop.fill(1)
        await shop.bus.publish("nobody", "x")
        await letters(shop.bus, 2)
        await shop.bus.publish("nobody", "y")
        await letters(shop.bus, 3)
        sent, stays = await shop.bus.dead_letters.redrive(all=True, stop_on_failure=True)
        assert sent.error is None
        assert stays.error is not None
        await shop.seen.wait(1)
        assert 2 == len(await letters(shop.bus, 2))


async def test_goes_on_after_its_patience(url: str) -> None:
    """What nobody handles in time holds nothing up; when it dies later, that stops what is not sent yet."""
    clock = VirtualClock()
    shop = Shop(url, clock=clock)
    async with shop.bus.running():
        ids = await shop.fill(4)
        shop.held.clear()
        shop.bad.add(0)
        told: list[Redriven] = []
        redriving = asyncio.ensure_future(
            shop.bus.dead_letters.redrive(all=True, stop_on_failure=True, patience=5, progress=told.extend)
        )

        async def pass_time(seconds: float) -> None:
            for _ in range(round(seconds * 10)):
                clock.advance(0.1)
                await asyncio.sleep(0.001)

        await until(lambda: told)
        await pass_time(4)
        assert 1 == len(told)
        while len(told) < 2:
            await pass_time(1)
        shop.held.set()
        while not redriving.done():
            await pass_time(0.1)
        results = await redriving
        assert ids[:2] == [result.id for result in results]
        assert results[0].error is not None
        assert "became dead letter" in results[0].error
        assert results[1].error is None
        assert {0, 2, 3} == {int(letter.message.body) for letter in await letters(shop.bus, 3)}


async def test_with_another_box_nothing_is_waited_for(url: str, box: str | None) -> None:
    """Nobody there can know when a message is handled: a held handler holds up no redrive."""
    if box is None:
        return
    shop = Shop(url, box)
    async with shop.bus.running():
        await shop.fill(3)
        shop.held.clear()
        results = await shop.bus.dead_letters.redrive(all=True, stop_on_failure=True, patience=600)
        assert [None] * 3 == [result.error for result in results]
        shop.held.set()
        await shop.seen.wait(3)


async def test_with_another_box_a_later_death_stops_the_rest(url: str, box: str | None) -> None:
    """What has come back when the next is due is noticed before that is sent."""
    if box is None:
        return
    clock = VirtualClock()
    shop = Shop(url, box, clock=clock)
    async with shop.bus.running():
        ids = await shop.fill(3)
        shop.bad.add(0)
        told: list[Redriven] = []
        redriving = asyncio.ensure_future(
            shop.bus.dead_letters.redrive(all=True, stop_on_failure=True, rate=1, progress=told.extend)
        )
        await until(lambda: told)
        (again,) = [letter for letter in await letters(shop.bus, 3) if letter.redrives]
        while not redriving.done():
            clock.advance(0.1)
            await asyncio.sleep(0.001)
        (result,) = await redriving
        error = f"it was sent, and became dead letter {again.id} (exhausted: ValueError: 0 is bad)"
        assert (ids[0], error) == (result.id, result.error)
        assert [] == shop.seen


async def test_two_redrives_at_once_send_each_once(url: str) -> None:
    """Whoever comes second is told that it was redriven already."""
    shop = Shop(url)
    async with shop.bus.running():
        ids = await shop.fill(20)
        both = await asyncio.gather(shop.bus.dead_letters.redrive(ids), shop.bus.dead_letters.redrive(ids))
        errors = [result.error for results in both for result in results]
        assert [None] * 20 == [error for error in errors if error is None]
        assert {"it was redriven already"} == {error for error in errors if error is not None}
        await shop.seen.wait(20)
    assert list(range(20)) == sorted(shop.seen)
