"""Which dead letters a filter takes."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pabal.model.dead import Change, DeadLetter, Edit, LetterFilter, tally
from pabal.model.message import Message
from pabal.model.outcome import Failure

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LETTER = DeadLetter(
    id="7",
    message=Message(id="m", channel="events.todo", time=NOW),
    reason="rejected",
    source="events.>",
    group="save",
    attempts=(Failure(NOW, 1, "KeyError: 'a'"), Failure(NOW, 2, "ValueError: no", "", "ValueError at a.py:4 f")),
    parked=NOW,
)
LATER = NOW + timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (LetterFilter(), True),
        (LetterFilter(ids=["7", "8"], channel="events.todo", group="save", reason="rejected"), True),
        (LetterFilter(ids=[]), False),
        (LetterFilter(ids=["8"]), False),
        (LetterFilter(channel="events.>"), False),
        (LetterFilter(group="audit"), False),
        (LetterFilter(reason="expired"), False),
        (LetterFilter(message_id="m", since=NOW, until=LATER), True),
        (LetterFilter(message_id="7"), False),
        (LetterFilter(since=LATER), False),
        (LetterFilter(until=NOW), False),
        (LetterFilter(cause="ValueError at a.py:4 f"), True),
        (LetterFilter(cause="ValueError"), True),
        (LetterFilter(cause="ValueError at a.py:4"), False),
        (LetterFilter(cause="KeyError"), False),
        (LetterFilter(cause=""), False),
        (LetterFilter(redriven=True), False),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else repr(value).removeprefix("LetterFilter"),
)
def test_a_letter_fits_when_all_that_is_asked_fits(wanted: LetterFilter, *, fits: bool) -> None:
    """Every part of a filter that is given has to fit, and the channel is the message's own."""
    assert fits == wanted.fits(LETTER)


def test_a_letter_without_failures_has_no_cause() -> None:
    """It is chosen by the empty cause, as are those that failed of no exception."""
    unrouted = replace(LETTER, reason="unrouted", attempts=())
    expired = replace(LETTER, reason="expired", attempts=(Failure(NOW, 1, "expired at noon"),))
    assert ("", "") == (unrouted.cause, expired.cause)
    assert LetterFilter(cause="").fits(unrouted)
    assert not LetterFilter(cause="ValueError").fits(unrouted)


def test_a_change_touches_what_it_names() -> None:
    """Body and headers change, a header set to None goes; id, time, key and all else stay, and the record has all."""
    message = Message(
        id="m", channel="a", time=NOW, key="k", body=b"x", headers={"a": "1", "b": "2"}, content_type="text/plain"
    )
    changed, edit = Change(time=LATER, by="me", headers={"a": None, "c": "3"}).apply(message)
    assert replace(message, headers={"b": "2", "c": "3"}) == changed
    assert Edit(time=LATER, by="me", body=b"x", headers={"a": "1", "b": "2"}, content_type="text/plain") == edit
    again, _ = Change(time=LATER, body=b"", content_type="text/html").apply(changed)
    assert replace(changed, body=b"", content_type="text/html") == again


def test_letters_are_tallied_by_their_causes() -> None:
    """Equal reason, channel, group and cause are one; the newest is the example."""
    newer = replace(LETTER, id="8", parked=LATER)
    other = replace(LETTER, id="9", group=None)
    found = tally([LETTER, other, newer])
    assert [(2, "save", NOW, LATER, "8"), (1, None, NOW, NOW, "9")] == [
        (cause.count, cause.group, cause.oldest, cause.newest, cause.example) for cause in found
    ]
    assert {("rejected", "events.todo", "ValueError at a.py:4 f")} == {(c.reason, c.channel, c.cause) for c in found}
