"""Dead letters: read, sent again, discarded."""

from pathlib import Path
from typing import Any

import pytest

from pabal import Backoff, Bus, CapabilityError, ConfigurationError, Context, Message, Reject
from tests.acceptance.seen import Seen, letters


def reject_all(bus: Bus, *groups: str) -> None:
    for group in groups:

        @bus.handler("a", group=group, retry=Backoff(attempts=1))
        async def handler(body: str) -> None:
            raise Reject("no")


async def test_list_and_show(url: str) -> None:
    """Letters are listed oldest first, by channel, group and reason; two groups' letters of a message are two."""
    bus = Bus(url)
    reject_all(bus, "g", "h")
    async with bus:
        async with bus.running():
            receipt = await bus.publish("a", "x")
            await letters(bus, 2)
            await bus.publish("b", "y")
            found = await letters(bus, 3)
        assert [letter.reason for letter in found] == ["rejected", "rejected", "unrouted"]
        assert len({letter.id for letter in found}) == 3
        assert {letter.message.id for letter in found[:2]} == {receipt.id}
        assert [x.group async for x in bus.dead_letters.list(group="h")] == ["h"]
        assert [x.reason async for x in bus.dead_letters.list(channel="b")] == ["unrouted"]
        assert len([x async for x in bus.dead_letters.list(reason="rejected", channel="a")]) == 2
        assert [x async for x in bus.dead_letters.list(reason="expired")] == []
        assert await bus.dead_letters.show(found[2].id) == found[2]


async def test_wrong_questions(url: str) -> None:
    """A letter that is not there, ids that are none and a reason that is none are told."""
    async with Bus(url) as bus:
        with pytest.raises(ConfigurationError, match="there is no dead letter 'none'"):
            await bus.dead_letters.show("none")
        with pytest.raises(ConfigurationError, match="a reason is one of unrouted, exhausted"):
            await anext(aiter(bus.dead_letters.list(reason="bored")))  # type: ignore[arg-type]
        for act in (bus.dead_letters.redrive, bus.dead_letters.discard):
            with pytest.raises(ConfigurationError, match="give the ids of dead letters, or all=True"):
                await act()
            with pytest.raises(ConfigurationError, match="give the ids of dead letters, or all=True"):
                await act(["x"], all=True)
            with pytest.raises(ConfigurationError, match="ids is a list"):
                await act("x")
        assert await bus.dead_letters.discard(["none"]) == 0
        assert await bus.dead_letters.discard(all=True) == 0
        assert await bus.dead_letters.redrive(all=True) == []
        (result,) = await bus.dead_letters.redrive(["none"])
        assert result.error is not None
        assert (result.id, result.message_id) == ("none", None)


async def test_discard(url: str) -> None:
    """Letters are discarded by their ids, or all."""
    async with Bus(url) as bus:
        for n in range(4):
            await bus.publish("a", n)
        found = await letters(bus, 4)
        assert await bus.dead_letters.discard([found[1].id, found[1].id, "none"]) == 1
        assert [letter.id for letter in await letters(bus)] == [found[0].id, found[2].id, found[3].id]
        assert await bus.dead_letters.discard(all=True) == 3
        assert [letter async for letter in bus.dead_letters.list()] == []


@pytest.fixture(params=[False, True], ids=["own box", "box elsewhere"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return f"sqlite:///{tmp_path / 'dead.db'}?synchronous=normal" if request.param else None


async def test_redrive(url: str, box: str | None) -> None:
    """A redrive reaches the group that failed alone, with the id, time and headers kept and attempts begun again."""
    bus, seen = Bus(url, dead_letters=box, retry=Backoff(attempts=2, first=0)), Seen()
    mended = False

    @bus.handler("a", group="fails")
    async def fails(message: Message, context: Context) -> None:
        if not mended:
            raise ValueError("no")
        seen.add((message, context.attempt))

    @bus.handler("a", group="works")
    async def works(message: Message, context: Context) -> None:
        seen.add((message, context.attempt))

    async with bus.running():
        await bus.publish("a", "x", headers={"x": "y"}, key="k")
        ((first, _),) = await seen.wait(1)
        (letter,) = await letters(bus)
        assert (letter.group, letter.redrives, len(letter.attempts)) == ("fails", 0, 2)
        (result,) = await bus.dead_letters.redrive([letter.id])
        assert (result.id, result.message_id, result.receivers, result.error) == (letter.id, first.id, 1, None)
        (letter,) = await letters(bus)
        assert (letter.redrives, [failure.attempt for failure in letter.attempts]) == (1, [1, 2])
        mended = True
        assert [one.error for one in await bus.dead_letters.redrive(all=True)] == [None]
        _, (again, attempt) = await seen.wait(2)
        assert [found async for found in bus.dead_letters.list()] == []
    assert again == first
    assert attempt == 1
    assert len(seen) == 2


async def test_redrive_of_unrouted(url: str, box: str | None) -> None:
    """An unrouted letter goes to all groups there are now; while there is none it stays, and the result says so."""
    seen = Seen()
    bus = Bus(url, dead_letters=box)
    for group in ("g", "h"):

        @bus.handler("a", group=group)
        async def handler(body: str, group: str = group) -> None:
            seen.add((group, body))

    async with bus:
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
        (result,) = await bus.dead_letters.redrive([letter.id])
        assert result.error is not None
        assert [found.id for found in await letters(bus)] == [letter.id]
        async with bus.running():
            results = await bus.dead_letters.redrive([letter.id, letter.id])
            assert [(one.receivers, one.error) for one in results] == [(2, None)]
            assert sorted(await seen.wait(2)) == [("g", "x"), ("h", "x")]
            assert [found async for found in bus.dead_letters.list()] == []


async def test_redrive_to_a_group_that_is_gone(tmp_path: Path) -> None:
    """A letter whose group is no longer there stays, and the result says so."""
    box = f"sqlite:///{tmp_path / 'dead.db'}"
    bus = Bus("memory://group-that-goes", dead_letters=box)
    reject_all(bus, "g")
    async with bus.running():
        await bus.publish("a", "x")
        await letters(bus)
    async with Bus("memory://", dead_letters=box) as elsewhere:
        (result,) = await elsewhere.dead_letters.redrive(all=True)
        assert result.error is not None
        assert "there is no group 'g' of 'a'" in result.error
        assert len(await letters(elsewhere)) == 1


async def test_many_letters(url: str, box: str | None) -> None:
    """More letters than go in one step are all redriven."""
    bus, seen = Bus(url, dead_letters=box), Seen()
    mended = False

    @bus.handler("a", group="g", concurrency=10, retry=Backoff(attempts=1))
    async def handler(number: int) -> None:
        if not mended:
            raise ValueError("no")
        seen.add(number)

    async with bus.running():
        await bus.publish_many("a", range(250))
        await letters(bus, 250)
        mended = True
        results = await bus.dead_letters.redrive(all=True)
        assert [result.error for result in results] == [None] * 250
        assert sorted(await seen.wait(250)) == list(range(250))


async def test_box_must_keep_letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A box of dead letters that keeps none is refused when the bus opens, without its password."""
    info = tmp_path / "pabal_hole-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pabal-hole\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pabal.transports]\nhole = tests.acceptance.test_dead_letters:Hole\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        async with Bus("memory://", dead_letters="hole://user:secret@x"):
            pass
    assert "keeps no dead letters" in str(refused.value)
    assert "secret" not in str(refused.value)
    async with Bus("hole://user:secret@x") as bus:
        with pytest.raises(CapabilityError, match="give the bus dead_letters="):
            await bus.dead_letters.show("x")


class Hole:
    """A transport that settles, and keeps no dead letters."""

    def __init__(self, address: Any, /, *, clock: Any) -> None: ...

    async def open(self) -> Any:
        from pabal.model.capabilities import Capabilities, Settles

        return Capabilities(settles=Settles.EACH)

    async def aclose(self) -> None: ...
