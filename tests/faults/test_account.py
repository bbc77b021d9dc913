"""The harness notices: each way in which a message can go wrong, in a ledger that has it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pabal import PublishError
from pabal.model.dead import DeadLetter
from pabal.model.message import Message
from tests.faults.account import Account, Book
from tests.faults.ledger import Entry, Fate, Ledger, Reading, What

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def published(*ids: str, key: str = "k", fate: Fate = "handle") -> list[Entry]:
    whats: list[What] = ["intended", "acknowledged"]
    return [Entry(what, id, "publisher", key, fate) for id in ids for what in whats]


def handled(*ids: str) -> list[Entry]:
    return [Entry("handled", id, "worker", attempt=1) for id in ids]


def letter(id: str, reason: str = "rejected") -> DeadLetter:
    message = Message(id=id, channel="a", body=b"", type="a", source="tests", time=NOW)
    return DeadLetter(id=f"letter of {id}", message=message, reason=reason, parked=NOW)  # type: ignore[arg-type]


def judged(entries: list[Entry], *letters: DeadLetter, ordered: bool = False) -> Account:
    book = Book()
    book.enter(entries)
    return book.judge(letters, ordered=ordered, seen={})


def test_what_came_to_its_end_is_fine() -> None:
    """Handled, handled twice, rejected as told, and not acknowledged: all of them are explained."""
    entries = [*published("a", "b"), *published("r", fate="reject"), Entry("intended", "u", "publisher", "k")]
    account = judged([*entries, *handled("a", "b", "b")], letter("r"))
    assert account.fine
    assert (4, 3, 2, 1, 1) == (
        account.intended,
        account.acknowledged,
        account.handled,
        account.duplicates,
        account.dead,
    )


def test_what_was_acknowledged_and_is_nowhere_is_lost() -> None:
    """Neither handled nor a dead letter."""
    account = judged([*published("a", "b"), *handled("a")])
    assert ["b"] == account.lost
    assert not account.fine


@pytest.mark.parametrize(
    ("entries", "letters", "told"),
    [
        ([*published("a", fate="reject"), *handled("a")], [letter("a")], "a was handled and is a dead letter"),
        (handled("a"), [], "a was intended by nobody"),
        ([], [letter("a")], "a was intended by nobody"),
        (published("a"), [letter("a", "exhausted")], "a is a dead letter: exhausted"),
        (published("a", fate="reject"), [letter("a"), letter("a")], "a died 2 times"),
        ([*published("a"), *published("a"), *handled("a")], [], "a was intended twice"),
        (
            [Entry("intended", "a", "p"), Entry("refused", "a", "p", why="full"), *handled("a")],
            [],
            "a was refused (full) and came nevertheless",
        ),
    ],
    ids=["both", "phantom", "phantom-letter", "wrong-death", "two-deaths", "twice", "refused"],
)
def test_what_must_not_be_is_unexplained(entries: list[Entry], letters: list[DeadLetter], told: str) -> None:
    """Each is told, and makes the account wrong."""
    account = judged(entries, *letters)
    assert told in account.unexplained
    assert not account.fine


def test_two_letters_of_one_message_are_a_duplicate_where_they_are_kept_apart() -> None:
    """Parked, and not settled any more: the message is rejected again by another worker."""
    entries = published("r", fate="reject")
    book = Book()
    book.enter(entries)
    account = book.judge([letter("r"), letter("r")], ordered=False, seen={}, apart=True)
    assert account.fine
    assert (1, 1) == (account.dead, account.duplicates)


def test_who_was_too_late_is_told() -> None:
    """A publish that took longer than its timeout is wrong, whatever it came to."""
    account = judged([*published("a"), Entry("late", "a", "p"), *handled("a")])
    assert ["a was not published within its timeout, and nobody was told so"] == account.unexplained


def test_disorder_in_a_key_is_told_for_ordered_groups() -> None:
    """The first handlings of a key follow its publishing; a duplicate may come whenever it likes."""
    entries = [*published("a1", "a2", "a3", key="a"), *published("b1", key="b")]
    assert judged([*entries, *handled("b1", "a1", "a2", "a1", "a3")], ordered=True).fine
    wrong = [*entries, *handled("a1", "a3", "a2", "b1")]
    assert ["a2 was handled after a3, which follows it in a"] == judged(wrong, ordered=True).unexplained
    assert judged(wrong).fine


def test_what_was_not_acknowledged_has_no_place_in_the_order() -> None:
    """Nobody was promised that it was taken, nor when."""
    entries = [Entry("intended", "u", "publisher", "k"), *published("a", key="k")]
    assert judged([*entries, *handled("a", "u")], ordered=True).fine


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    """The ledger is read as it grows, and what a killed process left half written is passed over."""
    path = tmp_path / "ledger"
    reading = Reading(path)
    ledger = Ledger(path, "publisher")
    ledger.note("intended", "a", key="k", fate="fail")
    with path.open("ab") as torn:
        torn.write(b'\n{"what":"hand')
    assert [Entry("intended", "a", "publisher", "k", "fail")] == reading.more()
    ledger.failed("refused", "a", error=PublishError("no room"))
    assert [Entry("refused", "a", "publisher", why="PublishError: no room")] == reading.more()
    assert [] == reading.more()
    ledger.close()
    reading.close()
