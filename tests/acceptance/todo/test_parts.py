"""The parts of the app that hold without HTTP: its database, what waits, and who listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pabal.examples.todo.events import Item
from pabal.examples.todo.handlers import starred
from pabal.examples.todo.items import Items
from pabal.examples.todo.push import BACKLOG, Browsers
from pabal.examples.todo.waiting import MOST, Change, Waiting


@asynccontextmanager
async def items_in(folder: Path) -> AsyncIterator[Items]:
    items = Items(folder / "items.db")
    try:
        await items.open()
        yield items
    finally:
        await items.aclose()


WRITES = ["add", "change", "tick", "untick", "remove"]


async def write(items: Items, id: str, what: str) -> None:
    match what:
        case "add":
            await items.add(id, "milk!!", 1.0)
        case "change":
            await items.change(id, "★ milk", 1.0)
        case "tick":
            await items.tick(id, 2.0, done=True)
        case "untick":
            await items.tick(id, 3.0, done=False)
        case _:
            await items.remove(id)


@settings(max_examples=40)
@given(data=st.data())
def test_messages_may_come_twice_and_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Once the item is there, every order and every repetition gives the same end."""
    first = data.draw(st.sampled_from(["add", "change"]))
    rest = data.draw(st.permutations(WRITES * 2))

    async def check() -> None:
        async with items_in(tmp_path_factory.mktemp("items")) as items:
            for what in (first, *rest):
                await write(items, "1", what)
            assert await items.find(["1"]) == {"1": Item("1", "★ milk", done=False, removed=True)}
            assert await items.newest(10) == []

    asyncio.run(check())


async def test_many_writers_share_few_connections(tmp_path: Path) -> None:
    """However many handlers run at once, all succeed on the bounded pool."""
    async with items_in(tmp_path) as items:
        await asyncio.gather(*(items.add(str(n), f"item {n}", n) for n in range(100)))
        assert [item.id for item in await items.newest(3)] == ["99", "98", "97"]


async def test_an_item_that_is_not_there_cannot_be_ticked(tmp_path: Path) -> None:
    """A tick for nothing is an error, and makes nothing."""
    async with items_in(tmp_path) as items:
        with pytest.raises(KeyError):
            await items.tick("1", 1.0, done=True)
        with pytest.raises(KeyError):
            await items.remove("1")
        assert await items.find(["1"]) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("call mum!!", "★ call mum"), ("now!!! ", "★ now"), ("well!", "well!"), ("!!", "!!"), ("a!!b", "a!!b")],
)
def test_what_is_urgent_gets_a_star(text: str, expected: str) -> None:
    """Two exclamation marks at the end become a star at the front."""
    assert starred(text) == expected


@given(st.text())
def test_a_rewritten_item_is_not_rewritten_again(text: str) -> None:
    """The rewriting comes to an end, even if somebody fed it its own result."""
    assert starred(starred(text)) == starred(text)


def test_what_waits_is_forgotten_when_the_database_shows_it() -> None:
    """A change waits until the database has that very change."""
    waiting = Waiting()
    waiting.expect("1", Change("m1", item="milk"))
    waiting.expect("2", Change("m2", done=True))
    waiting.expect("3", Change("m3", removed=True))
    waiting.settle({"2": Item("2", "x", done=False), "3": Item("3", "y")})
    assert list(waiting.changes) == ["1", "2", "3"]
    waiting.settle({"1": Item("1", "milk"), "2": Item("2", "x", done=True), "3": Item("3", "y", removed=True)})
    assert list(waiting.changes) == []


def test_what_waits_has_a_bound() -> None:
    """However many items wait in the transport, this process remembers the newest of them only."""
    waiting = Waiting()
    for n in range(MOST + 1):
        waiting.expect(str(n), Change(str(n), item="x"))
    assert (len(waiting.changes), "0" in waiting.changes) == (MOST, False)


async def test_a_browser_that_reads_too_slowly_is_let_go() -> None:
    """The others go on; it ends, so that the browser connects again and reads the whole list."""
    browsers = Browsers()
    async with aclosing(browsers.stream()) as slow, aclosing(browsers.stream()) as quick:
        assert [await anext(slow), await anext(quick)] == [b"retry: 1000\n\n"] * 2
        for n in range(BACKLOG + 1):
            browsers.tell("itemsaved", b"%d" % n)
            assert await anext(quick) == b"event: itemsaved\ndata: %d\n\n" % n
        assert [event async for event in slow] == []
        browsers.close()
        assert [event async for event in quick] == []
