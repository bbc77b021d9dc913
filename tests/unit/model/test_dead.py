"""Which dead letters a filter takes."""

from datetime import UTC, datetime

import pytest

from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.message import Message

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LETTER = DeadLetter(
    id="7",
    message=Message(id="m", channel="events.todo", time=NOW),
    reason="rejected",
    source="events.>",
    group="save",
    parked=NOW,
)


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
    ],
    ids=["all", "each", "no_ids", "id", "channel", "group", "reason"],
)
def test_a_letter_fits_when_all_that_is_asked_fits(wanted: LetterFilter, *, fits: bool) -> None:
    """Every part of a filter that is given has to fit, and the channel is the message's own."""
    assert fits == wanted.fits(LETTER)
