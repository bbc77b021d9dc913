"""Consumers that pull."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from pabal import Backoff, Bus, Channel, ConfigurationError, ConnectionFailed, Settlement
from pabal.model.clock import VirtualClock
from tests.acceptance.seen import PATIENCE, letters, until
from tests.acceptance.trouble import Trouble


class Item(msgspec.Struct):
    name: str


ITEMS = Channel("items", Item)
AT_ONCE = Backoff(attempts=2, first=0)


async def test_pull_and_ack(url: str) -> None:
    """A pull gives up to max deliveries with typed values; ack ends them, once."""
    async with Bus(url) as bus, bus.consumer(ITEMS, group="g") as consumer:
        receipts = await bus.publish_many(ITEMS, [Item(str(n)) for n in range(5)])
        pulled = await consumer.pull(max=3, wait=PATIENCE)
        assert [one.value for one in pulled] == [Item("0"), Item("1"), Item("2")]
        assert [(one.message.id, one.attempt) for one in pulled] == [(receipt.id, 1) for receipt in receipts[:3]]
        assert [await one.ack() for one in pulled] == [Settlement.DONE] * 3
        assert [await one.ack() for one in pulled] == [Settlement.LOST] * 3
        assert await pulled[0].reject() == Settlement.LOST
        rest = await consumer.pull(max=10, wait=PATIENCE)
        assert [one.value.name for one in rest] == ["3", "4"]
        assert [await one.ack() for one in rest] == [Settlement.DONE] * 2
        assert await consumer.pull() == []


async def test_pull_waits(url: str) -> None:
    """A pull waits for the first message, and returns with it."""
    async with Bus(url) as bus, bus.consumer("a", group="g", type=int) as consumer:
        assert await consumer.pull(wait=0.01) == []
        pulling = asyncio.create_task(consumer.pull(max=10, wait=PATIENCE))
        await asyncio.sleep(0)
        await bus.publish("a", 7)
        (pulled,) = await pulling
        assert pulled.value == 7
        await pulled.ack()


async def test_values_without_a_type(url: str) -> None:
    """Without a type, values are as their content type says."""
    async with Bus(url) as bus, bus.consumer("a", group="g") as consumer:
        await bus.publish_many("a", [{"a": 1}, "text", b"bytes"])
        pulled = [one for _ in range(3) for one in await consumer.pull(wait=PATIENCE)]
        assert [one.value for one in pulled] == [{"a": 1}, "text", b"bytes"]


async def test_retry_and_reject(url: str) -> None:
    """Retry brings a message back with its count, until the attempts are over; reject ends it at once."""
    async with Bus(url, retry=AT_ONCE) as bus, bus.consumer("a", group="g") as consumer:
        await bus.publish("a", "x")
        (first,) = await consumer.pull(wait=PATIENCE)
        assert await first.retry("busy", after=0) == Settlement.DONE
        (second,) = await consumer.pull(wait=PATIENCE)
        assert second.attempt == 2
        assert await second.retry("still busy") == Settlement.DONE
        await bus.publish("a", "y")
        (third,) = await consumer.pull(wait=PATIENCE)
        assert await third.reject("not ours") == Settlement.DONE
        exhausted, rejected = await letters(bus, 2)
    assert exhausted.reason == "exhausted"
    assert [failure.error for failure in exhausted.attempts] == ["Retry: busy", "Retry: still busy"]
    assert (rejected.reason, rejected.attempts[0].error) == ("rejected", "Reject: not ours")


async def test_unsettled_goes_back(url: str) -> None:
    """What was not settled goes back at the end of the consumer, not counted as an attempt; then it is too late."""
    async with Bus(url) as bus:
        async with bus.consumer("a", group="g") as consumer:
            await bus.publish_many("a", [1, 2])
            one, two = await consumer.pull(max=2, wait=PATIENCE)
            await one.ack()
        assert await two.ack() == Settlement.LOST
        async with bus.consumer("a", group="g") as consumer:
            (again,) = await consumer.pull(max=2, wait=PATIENCE)
            assert (again.value, again.attempt) == (2, 1)
            await again.ack()


async def test_exception_gives_back(url: str) -> None:
    """An exception in the block comes out, and gives back what was in hand."""
    async with Bus(url) as bus:
        with pytest.raises(KeyError):  # noqa: PT012 - the block is what is left
            async with bus.consumer("a", group="g") as consumer:
                await bus.publish("a", 1)
                await consumer.pull(wait=PATIENCE)
                raise KeyError
        async with bus.consumer("a", group="g") as consumer:
            assert [one.value for one in await consumer.pull(wait=PATIENCE)] == [1]


async def test_undecodable(url: str) -> None:
    """A body of another type is a dead letter at once, and is not returned; the pull goes on waiting."""
    async with Bus(url) as bus, bus.consumer(ITEMS, group="g") as consumer:
        pulling = asyncio.create_task(consumer.pull(max=10, wait=PATIENCE))
        await asyncio.sleep(0)
        await bus.publish("items", {"name": 1})
        await letters(bus)
        await bus.publish_many("items", [Item("good")])
        (pulled,) = await pulling
        assert pulled.value == Item("good")
        await pulled.ack()
        (letter,) = await letters(bus)
    assert (letter.reason, letter.group) == ("undecodable", "g")


async def test_idle_consumer_holds_nothing(url: str) -> None:
    """Between its pulls a consumer hoards nothing: another member gets all there is."""
    async with (
        Bus(url) as first,
        Bus(url) as second,
        first.consumer("a", group="g") as idle,
        second.consumer("a", group="g") as busy,
    ):
        await first.publish_many("a", range(10))
        (mine,) = await idle.pull(wait=PATIENCE)
        got: list[Any] = []
        while len(got) < 9:
            pulled = await busy.pull(max=100, wait=PATIENCE)
            got += [one.value for one in pulled]
            for one in pulled:
                await one.ack()
        assert sorted([mine.value, *got]) == list(range(10))


@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_pull_loses_nothing(url: str, steps: int) -> None:
    """A pull that is cancelled at any point loses nothing: the next pull gets every message."""
    async with Bus(url) as bus, bus.consumer(ITEMS, group="g") as consumer:
        pulling = asyncio.create_task(consumer.pull(max=10, wait=PATIENCE))
        await asyncio.sleep(0)
        await bus.publish_many("items", [{"name": 1}, Item("one"), Item("two")])
        for _ in range(steps):
            await asyncio.sleep(0)
        pulling.cancel()
        got = []
        with suppress(asyncio.CancelledError):
            got += await pulling
        while len(got) < 2:
            got += await consumer.pull(max=10, wait=PATIENCE)
        assert sorted(one.value.name for one in got) == ["one", "two"]
        assert [await one.ack() for one in got] == [Settlement.DONE] * 2
        assert len(await letters(bus)) == 1


async def test_cancelled_while_a_dead_letter_is_settled(trouble: Trouble) -> None:
    """A pull that is cancelled while it ends an undecodable message gives the good ones back at once."""
    async with Bus(trouble.url) as bus, bus.consumer(ITEMS, group="g") as consumer:
        settling = asyncio.Event()

        async def hang(_: Any) -> None:
            settling.set()
            await asyncio.Event().wait()

        trouble.before["settle"] = hang
        await bus.publish_many("items", [Item("good"), {"name": 1}])
        pulling = asyncio.create_task(consumer.pull(max=10, wait=PATIENCE))
        await settling.wait()
        trouble.heal()
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        (good,) = await consumer.pull(max=10, wait=PATIENCE)
        assert (good.value, good.attempt) == (Item("good"), 1)
        assert len(await letters(bus)) == 1


async def test_leases_are_extended() -> None:
    """What was pulled stays ours as long as its consumer is open, however long its taker needs."""
    clock = VirtualClock()
    async with Bus("memory://?lease=30", clock=clock) as bus, bus.consumer("a", group="g") as consumer:
        await bus.publish("a", 1)
        (pulled,) = await consumer.pull(wait=PATIENCE)
        for _ in range(30):
            clock.advance(10.0)
            for _ in range(3):
                await asyncio.sleep(0)
        assert await consumer.pull() == []
        assert await pulled.ack() == Settlement.DONE


async def test_lost_lease(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    """A delivery whose lease ran out while the server was away is LOST: it is handled elsewhere."""
    clock = VirtualClock()
    async with Bus(trouble.url + "?lease=30", clock=clock) as bus, bus.consumer("a", group="g") as consumer:
        await bus.publish("a", 1)
        (pulled,) = await consumer.pull(wait=PATIENCE)
        trouble.fail("extend")
        for _ in range(4):
            clock.advance(10.0)
            await until(lambda: True)
            await asyncio.sleep(0)
        trouble.heal()
        (again,) = await consumer.pull(wait=PATIENCE)
        assert again.attempt == 2
        assert await pulled.ack() == Settlement.LOST
        assert await again.ack() == Settlement.DONE
    assert "could not extend its leases" in caplog.text


async def test_settlement_without_an_answer(trouble: Trouble) -> None:
    """A settlement that gets no answer is UNKNOWN, and may be tried again."""
    async with Bus(trouble.url) as bus, bus.consumer("a", group="g") as consumer:
        await bus.publish("a", 1)
        (pulled,) = await consumer.pull(wait=PATIENCE)
        trouble.fail("settle")
        assert await pulled.ack() == Settlement.UNKNOWN
        trouble.heal()
        assert await pulled.ack() == Settlement.DONE


async def test_rejecting_into_a_box_that_is_away(trouble: Trouble) -> None:
    """While the box of dead letters cannot be reached a rejected message is kept: nothing is acknowledged."""
    async with (
        Bus("memory://pulling-with-a-box", dead_letters=trouble.url) as bus,
        bus.consumer("a", group="g") as consumer,
    ):
        await bus.publish("a", 1)
        (pulled,) = await consumer.pull(wait=PATIENCE)
        trouble.fail("park")
        with pytest.raises(ConnectionFailed):
            await pulled.reject()
        trouble.heal()
        assert await pulled.reject() == Settlement.DONE
        assert len(await letters(bus)) == 1
        assert await consumer.pull() == []


async def test_two_pulls_at_once(url: str) -> None:
    """Pulls of one consumer wait for each other, and share what there is."""
    async with Bus(url) as bus, bus.consumer("a", group="g") as consumer:
        pulls = [asyncio.create_task(consumer.pull(max=1, wait=PATIENCE)) for _ in range(3)]
        await bus.publish_many("a", range(3))
        got = [one.value for pull in pulls for one in await pull]
        assert sorted(got) == [0, 1, 2]


async def test_closed_consumer(url: str) -> None:
    """A consumer that is closed gives nothing more."""
    async with Bus(url) as bus:
        async with bus.consumer("a", group="g") as consumer:
            pass
        with pytest.raises(ConnectionFailed):
            await consumer.pull()


async def test_bus_closes_its_consumers(url: str) -> None:
    """A bus that is closed under its consumers gives back what they held, and leaves nothing running."""
    bus = Bus(url)
    async with bus.consumer("a", group="g") as consumer:
        await bus.publish("a", 1)
        await consumer.pull(wait=PATIENCE)
        await bus.aclose()
    async with Bus(url) as again, again.consumer("a", group="g") as consumer:
        assert [one.value for one in await consumer.pull(wait=PATIENCE)] == [1]


@pytest.mark.parametrize("options", [{"max": 0}, {"wait": -1}, {"wait": float("nan")}], ids=str)
async def test_wrong_pull(url: str, options: dict[str, Any]) -> None:
    """A pull that makes no sense is refused."""
    async with Bus(url) as bus, bus.consumer("a", group="g") as consumer:
        with pytest.raises(ConfigurationError):
            await consumer.pull(**options)


@pytest.mark.parametrize("options", [{"source": "a b"}, {"group": "a b"}, {"type": asyncio.Lock}], ids=str)
async def test_wrong_consumer(url: str, options: dict[str, Any]) -> None:
    """A consumer that makes no sense is refused."""
    arguments: dict[str, Any] = {"source": "a", "group": "g", **options}
    with pytest.raises(ConfigurationError):
        Bus(url).consumer(**arguments)


async def test_an_ordered_group_is_not_pulled(url: str) -> None:
    """A consumer of an ordered group is refused, while it is handled and afterwards, and the group stays as it is."""
    bus = Bus(url)

    @bus.handler("a", group="g", ordered=True)
    async def handler(body: str) -> None: ...

    async with Bus(url) as other:
        async with bus.running():
            with pytest.raises(
                ConfigurationError, match=r"is read ordered .*, and who only pulls would read it unordered"
            ):
                await other.consumer("a", group="g").__aenter__()
        with pytest.raises(ConfigurationError, match="read it by a handler that says the same, or remove the group"):
            await other.consumer("a", group="g").__aenter__()
        await other.publish("a", "later", key="k")
        again = Bus(url)
        again.handler("a", group="g", ordered=True)(handler)
        async with again.running():
            pass
