"""Dead letters chosen by what they are, and counted by cause."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pabal import Backoff, Bus, ConfigurationError, Reject
from tests.acceptance.seen import letters


class Broken:
    """A handler's helper, in which something fails."""

    def fail(self) -> None:
        raise KeyError("item")


def failing(bus: Bus) -> None:
    """Handlers that fail in four ways."""

    @bus.handler("a", group="g", retry=Backoff(attempts=1))
    async def g(body: str) -> None:
        if body == "key":
            Broken().fail()
        elif body == "value":
            raise ValueError("1 is no item")
        elif body == "other value":
            raise ValueError("2 is no item")
        raise Reject("no")

    @bus.handler("b", group="g", retry=Backoff(attempts=1))
    async def number(body: int) -> None:
        """Takes none of what comes."""


async def fill(bus: Bus) -> None:
    """Eight letters: of channel a two KeyErrors, two ValueErrors of two lines, one rejected; undecodable; unrouted."""
    failing(bus)
    async with bus.running():
        for body in ("key", "value", "key", "other value", "reject"):
            await bus.publish("a", body)
        await letters(bus, 5)
        await bus.publish("b", "no number")
        await bus.publish("c", "x")
        await bus.publish("c", "y")
        await letters(bus, 8)


async def chosen(bus: Bus, **choice: Any) -> list[str]:
    """The bodies of the chosen letters."""
    return sorted([letter.message.body.decode() async for letter in bus.dead_letters.list(**choice)])


@pytest.mark.parametrize(
    ("choice", "bodies"),
    [
        ({}, ["key", "key", "no number", "other value", "reject", "value", "x", "y"]),
        ({"cause": "KeyError"}, ["key", "key"]),
        ({"cause": "ValueError"}, ["other value", "value"]),
        ({"cause": "Reject"}, ["reject"]),
        ({"cause": "CodecError"}, ["no number"]),
        ({"cause": "Error"}, []),
        ({"cause": ""}, ["x", "y"]),
        ({"channel": "a", "reason": "exhausted"}, ["key", "key", "other value", "value"]),
        ({"group": "g", "reason": "undecodable"}, ["no number"]),
        ({"group": "g", "channel": "c"}, []),
        ({"reason": None, "channel": "c"}, ["x", "y"]),
    ],
    ids=str,
)
async def test_letters_are_chosen_by_what_they_are(url: str, choice: dict[str, Any], bodies: list[str]) -> None:
    """All that is given has to fit; an exception stands for all of its places, a part of its name for nothing."""
    async with Bus(url) as bus:
        await fill(bus)
        assert bodies == await chosen(bus, **choice)


async def test_a_cause_is_the_exception_and_its_place(url: str) -> None:
    """What fails on one line of the application has one cause, whatever its text; another line is another cause."""
    async with Bus(url) as bus:
        await fill(bus)
        causes = {letter.message.body.decode(): letter.cause async for letter in bus.dead_letters.list(channel="a")}
        place = "tests/acceptance/test_choosing_letters.py"
        assert causes["key"].startswith(f"KeyError at {place}:")
        assert causes["key"].endswith(" fail")
        assert causes["value"].startswith(f"ValueError at {place}:")
        assert causes["value"].endswith(" g")
        assert causes["value"] != causes["other value"]
        assert causes["reject"].startswith(f"Reject at {place}:")
        assert ["value"] == await chosen(bus, cause=causes["value"])
        assert [] == await chosen(bus, cause=causes["value"].rpartition(" ")[0])


async def test_letters_are_counted_by_cause(url: str) -> None:
    """By reason, channel, group and cause, the most frequent first, with since when, until when, and an example."""
    async with Bus(url) as bus:
        await fill(bus)
        every = [letter async for letter in bus.dead_letters.list()]
        causes = await bus.dead_letters.causes()
        assert [2, 2, 1, 1, 1, 1] == [cause.count for cause in causes]
        key, unrouted = causes[:2]
        assert ("exhausted", "a", "g") == (key.reason, key.channel, key.group)
        assert key.cause.startswith("KeyError at ")
        assert ("unrouted", "c", None, "") == (unrouted.reason, unrouted.channel, unrouted.group, unrouted.cause)
        those = [letter for letter in every if letter.cause == key.cause]
        assert (those[0].parked, those[1].parked, those[1].id) == (key.oldest, key.newest, key.example)
        assert {"ValueError"} == {
            cause.cause.partition(" ")[0] for cause in await bus.dead_letters.causes(cause="ValueError")
        }
        assert [] == await bus.dead_letters.causes(channel="nobody's")


async def test_letters_are_chosen_by_when_they_died(url: str) -> None:
    """Since is that time or later, until is before it."""
    async with Bus(url) as bus:
        for body in ("x", "y", "z"):
            await bus.publish("c", body)
        middle = (await letters(bus, 3))[1].parked
        later = [letter.parked for letter in await letters(bus, 3)][2]
        assert ["y", "z"] == await chosen(bus, since=middle)
        assert ["x"] == await chosen(bus, until=middle)
        assert ["y"] == await chosen(bus, since=middle, until=later)
        there = timedelta(hours=9)
        assert ["x"] == await chosen(bus, until=middle.astimezone(tz=None) + there - there)


async def test_redrive_and_discard_take_the_chosen(url: str) -> None:
    """The same words choose what is sent and what is deleted, and nothing else is touched."""
    async with Bus(url) as bus:
        await fill(bus)
        results = await bus.dead_letters.redrive(cause="KeyError", channel="a")
        assert [None, None] == [result.error for result in results]
        assert ["no number", "other value", "reject", "value", "x", "y"] == await chosen(bus)
        assert 2 == await bus.dead_letters.discard(reason="unrouted")
        assert 0 == await bus.dead_letters.discard(reason="unrouted")
        assert 1 == await bus.dead_letters.discard(reason="rejected", until=datetime.now(UTC) + timedelta(hours=1))
        assert ["no number", "other value", "value"] == await chosen(bus)


async def test_wrong_choices(url: str) -> None:
    """Nothing chosen, two ways at once, a time without its zone, and a word that is none are told."""
    async with Bus(url) as bus:
        for act in (bus.dead_letters.redrive, bus.dead_letters.discard):
            for choice in (
                {},
                {"reason": None, "group": None},
                {"all": True, "reason": "expired"},
                {"ids": ["1"], "channel": "a"},
                {"ids": ["1"], "all": True},
            ):
                with pytest.raises(ConfigurationError, match="or what to choose them by: reason, channel, group"):
                    await act(**choice)
            for name in ("since", "until"):
                with pytest.raises(ConfigurationError, match=f"{name} is an aware datetime"):
                    await act(**{name: datetime(2026, 11, 22)})  # type: ignore[arg-type]  # noqa: DTZ001
            with pytest.raises(ConfigurationError, match="a reason is one of"):
                await act(reason="bored")  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await act(colour="red")  # type: ignore[call-arg]
        with pytest.raises(ConfigurationError, match="since is an aware datetime"):
            await bus.dead_letters.causes(since="yesterday")  # type: ignore[arg-type]
