"""Dead letters mended before their redrive, and what is known of them afterwards."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pabal import Backoff, Bus, CodecError, ConfigurationError, Message, MessageTooLarge
from tests.acceptance.seen import Seen, letters


class Item(msgspec.Struct):
    item: str


@pytest.fixture(params=[False, True], ids=["own box", "box elsewhere"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return f"sqlite:///{tmp_path / 'dead.db'}?synchronous=normal" if request.param else None


def saving(bus: Bus) -> Seen:
    """A handler that takes items only."""
    seen = Seen()

    @bus.handler("a", group="save", retry=Backoff(attempts=1))
    async def save(item: Item, message: Message) -> None:
        if item.item == "bad":
            raise ValueError("no such item")
        seen.add((item.item, message))

    return seen


async def test_an_edited_letter_is_handled_and_its_history_stays(url: str, box: str | None) -> None:
    """Undecodable, mended, failed, mended, handled: it can be read later who failed, when and why, and each edit."""
    bus = Bus(url, dead_letters=box)
    seen = saving(bus)
    async with bus.running():
        receipt = await bus.publish("a", {"itme": "milk"}, key="k", headers={"tenant": "blue", "old": "1"})
        (letter,) = await letters(bus)
        first = await bus.dead_letters.edit(letter.id, body={"item": "bad"}, headers={"old": None}, by="ann")
        assert (first.id, first.message.id, first.message.time, first.message.key) == (
            letter.id,
            receipt.id,
            letter.message.time,
            "k",
        )
        assert (b'{"item":"bad"}', {"tenant": "blue"}) == (first.message.body, first.message.headers)
        assert first == await bus.dead_letters.show(letter.id)
        assert [first] == await letters(bus)
        assert [None] == [result.error for result in await bus.dead_letters.redrive([letter.id])]

        (again,) = await letters(bus)
        assert ("exhausted", 1, ()) == (again.reason, again.redrives, again.edits)
        shown = await bus.dead_letters.show(again.id)
        (before,) = shown.past
        assert (letter.id, "undecodable", letter.attempts) == (before.id, before.reason, before.attempts)
        assert before.redriven is not None
        (edit,) = before.edits
        assert ("ann", b'{"itme":"milk"}', {"tenant": "blue", "old": "1"}, "application/json") == (
            edit.by,
            edit.body,
            edit.headers,
            edit.content_type,
        )
        await bus.dead_letters.edit(again.id, body=b'{"item": "milk"}', by="bob")
        await bus.dead_letters.redrive(all=True)
        ((item, message),) = await seen.wait(1)
        assert ("milk", receipt.id, letter.message.time) == (item, message.id, message.time)
        assert (b'{"item": "milk"}', "application/json") == (message.body, message.content_type)

        assert [] == [found async for found in bus.dead_letters.list()]
        assert [letter.id, again.id] == [found.id async for found in bus.dead_letters.list(redriven=True)]
        shown = await bus.dead_letters.show(again.id)
        history = [*shown.past, shown]
        assert ["undecodable", "exhausted"] == [each.reason for each in history]
        assert ["ann", "bob"] == [edit.by for each in history for edit in each.edits]
        assert "ValueError: no such item" == shown.attempts[-1].error
        for each in history:
            assert each.redriven is not None
            assert each.attempts[0].time <= each.parked <= each.edits[0].time <= each.redriven
        with pytest.raises(ConfigurationError, match=f"no dead letter '{again.id}' that was not redriven"):
            await bus.dead_letters.edit(again.id, body={"item": "other"})


@pytest.mark.parametrize(
    ("body", "given", "expected", "content_type"),
    [
        ({"a": 1}, {"a": 2}, b'{"a":2}', "application/json"),
        ({"a": 1}, b'{"a": 2}', b'{"a": 2}', "application/json"),
        ({"a": 1}, None, b"null", "application/json"),
        ({"a": 1}, "text", b"text", "text/plain"),
        ("text", b"bytes", b"bytes", "text/plain"),
        ("text", 7, b"7", "application/json"),
        (b"\x00", b"\xff", b"\xff", "application/octet-stream"),
    ],
    ids=str,
)
async def test_what_the_new_body_is(url: str, body: Any, given: Any, expected: bytes, content_type: str) -> None:
    """Bytes replace the bytes and leave what they are; any other value is encoded as it would be published."""
    async with Bus(url) as bus:
        await bus.publish("a", body)
        (letter,) = await letters(bus)
        edited = await bus.dead_letters.edit(letter.id, body=given)
        assert (expected, content_type) == (edited.message.body, edited.message.content_type)
        named = await bus.dead_letters.edit(letter.id, content_type="text/html")
        assert (expected, "text/html") == (named.message.body, named.message.content_type)
        assert [body if isinstance(body, bytes) else edited.edits[0].body, expected] == [e.body for e in named.edits]


async def test_headers_alone(url: str) -> None:
    """Headers are set and removed one by one; the body stays, and so does what is not named."""
    async with Bus(url) as bus:
        await bus.publish("a", "x", headers={"a": "1", "b": "2"})
        (letter,) = await letters(bus)
        edited = await bus.dead_letters.edit(letter.id, headers={"a": None, "b": "3", "c": "4", "d": None})
        assert ({"b": "3", "c": "4"}, b"x") == (edited.message.headers, edited.message.body)
        assert {"a": "1", "b": "2"} == edited.edits[0].headers


async def test_edits_at_once_are_all_kept(url: str) -> None:
    """Each builds on the one before: nobody's change is lost."""
    async with Bus(url) as bus:
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
        names = [f"h{number}" for number in range(20)]
        await asyncio.gather(*(bus.dead_letters.edit(letter.id, headers={name: "1"}, by=name) for name in names))
        edited = await bus.dead_letters.show(letter.id)
        assert set(names) == set(edited.message.headers)
        assert set(names) == {edit.by for edit in edited.edits}
        assert list(range(20)) == sorted(len(edit.headers) for edit in edited.edits)


async def test_wrong_edits(url: str) -> None:
    """What cannot be is told, and the letter is as it was."""
    async with Bus(f"{url}{'&' if '?' in url else '?'}max_body=100") as bus:
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
        with pytest.raises(ConfigurationError, match="give what to change"):
            await bus.dead_letters.edit(letter.id)
        with pytest.raises(ConfigurationError, match="there is no dead letter '999'"):
            await bus.dead_letters.edit("999", body="y")
        with pytest.raises(ConfigurationError, match="header name 'ce-id' is reserved"):
            await bus.dead_letters.edit(letter.id, headers={"ce-id": "y"})
        with pytest.raises(CodecError, match="cannot be sent"):
            await bus.dead_letters.edit(letter.id, body=object())
        with pytest.raises(MessageTooLarge):
            await bus.dead_letters.edit(letter.id, body=b"y" * 101)
        assert [letter] == await letters(bus)


async def test_the_past_is_of_the_same_group(url: str) -> None:
    """Two groups fail on one message: each letter has its own past, and what was unrouted before is that of both."""
    bus = Bus(url)
    for group in ("g", "h"):

        @bus.handler("a", group=group, retry=Backoff(attempts=1))
        async def handler(body: str, group: str = group) -> None:
            raise ValueError(group)

    async with bus:
        await bus.publish("a", "x")
        (unrouted,) = await letters(bus)
        async with bus.running():
            await bus.dead_letters.redrive(all=True)
            for _ in range(2):
                found = await letters(bus, 2)
                await bus.dead_letters.redrive([letter.id for letter in found])
            found = await letters(bus, 2)
        for letter in found:
            past = (await bus.dead_letters.show(letter.id)).past
            assert [None, letter.group, letter.group] == [earlier.group for earlier in past]
            assert [0, 1, 2] == [earlier.redrives for earlier in past]
            assert unrouted.id == past[0].id
