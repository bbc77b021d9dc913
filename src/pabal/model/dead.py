"""Dead letters: messages that ended undelivered, kept for a person to read, mend and send again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from pabal.model.message import Message
from pabal.model.outcome import Failure, Reason

HOLDING: frozenset[Reason] = frozenset(("exhausted", "rejected", "undecodable", "expired"))
"""The reasons of the dead letters behind which an ordered group parks what follows of their key."""

MOST_REDRIVEN = 10_000
"""How many letters that were redriven are kept to be read; the one redriven longest ago goes first."""

NO_LETTER = "there is no such dead letter"
REDRIVEN = "it was redriven already"
"""What a redrive says of an id that is no dead letter's, or no longer."""


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a dead letter's message, with what was there before it.

    Attributes:
        time: when, aware UTC.
        by: who, as they called themselves.
        body: the body before.
        headers: the user's headers before.
        content_type: the body's media type before.
    """

    time: datetime
    by: str = ""
    body: bytes
    headers: Mapping[str, str] = {}
    content_type: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be changed in a dead letter's message.

    Attributes:
        time: when, aware UTC.
        by: who, as they call themselves.
        body: the new body; None: it stays.
        content_type: the new media type; None: it stays.
        headers: headers to set, and those with None to remove; the others stay.
    """

    time: datetime
    by: str = ""
    body: bytes | None = None
    content_type: str | None = None
    headers: Mapping[str, str | None] = {}

    def apply(self, message: Message) -> tuple[Message, Edit]:
        """The changed message, and the record of the change. Its id, time and everything else stay."""
        edit = Edit(
            time=self.time,
            by=self.by,
            body=message.body,
            headers=message.headers,
            content_type=message.content_type,
        )
        headers = {**message.headers, **self.headers}
        changed = replace(
            message,
            body=message.body if self.body is None else self.body,
            content_type=message.content_type if self.content_type is None else self.content_type,
            headers={name: value for name, value in headers.items() if value is not None},
        )
        return changed, edit


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be delivered.

    Attributes:
        id: the letter's own; two groups can fail on one message.
        message: as it was published, or as it was edited since.
        reason: why it ended here.
        source: the channel or pattern of the group or listener that failed; None when there was none.
        group: the name of the group that failed; None when there was none.
        attempts: every failed attempt that the transport could keep, oldest first.
        parked: when it became a dead letter, aware UTC.
        redrives: how often the message was sent again before.
        edits: what was changed in it since, oldest first.
        redriven: when it was sent again, aware UTC; None: it is a dead letter still.
        past: the earlier letters of the same message, sent again before this one, oldest first; `show` fills it.
    """

    id: str
    message: Message
    reason: Reason
    source: str | None = None
    group: str | None = None
    attempts: tuple[Failure, ...] = ()
    parked: datetime
    redrives: int = 0
    edits: tuple[Edit, ...] = ()
    redriven: datetime | None = None
    past: tuple[DeadLetter, ...] = ()

    @property
    def cause(self) -> str:
        """What the last attempt failed of, ``ValueError at app/handlers.py:42 save``; empty: of no known exception."""
        return self.attempts[-1].cause if self.attempts else ""


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are wanted; None fits all.

    Attributes:
        ids: these letters.
        message_id: letters of this message.
        channel: of messages on this channel.
        group: of groups of this name.
        reason: with this reason.
        cause: with this cause, or with this exception wherever it was raised.
        since: parked at this time or later.
        until: parked before this time.
        redriven: letters that were sent again, instead of those that are dead still.
    """

    ids: Sequence[str] | None = None
    message_id: str | None = None
    channel: str | None = None
    group: str | None = None
    reason: Reason | None = None
    cause: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    redriven: bool = False

    def fits(self, letter: DeadLetter) -> bool:
        """Whether a letter is wanted."""
        return (
            (self.ids is None or letter.id in self.ids)
            and self.message_id in (None, letter.message.id)
            and self.channel in (None, letter.message.channel)
            and self.group in (None, letter.group)
            and self.reason in (None, letter.reason)
            and (self.cause is None or letter.cause == self.cause or letter.cause.startswith(f"{self.cause} at "))
            and (self.since is None or self.since <= letter.parked)
            and (self.until is None or letter.parked < self.until)
            and self.redriven == (letter.redriven is not None)
        )


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters have one cause.

    Attributes:
        reason: theirs.
        channel: theirs.
        group: theirs; None where there was none.
        cause: theirs; see `DeadLetter.cause`.
        count: how many there are.
        oldest: when the first of them was parked, aware UTC.
        newest: when the last of them was parked, aware UTC.
        example: the id of the newest.
    """

    reason: Reason
    channel: str
    group: str | None
    cause: str
    count: int
    oldest: datetime
    newest: datetime
    example: str


def tally(letters: Iterable[DeadLetter]) -> list[Cause]:
    """Letters, given oldest first, counted by their causes."""
    found: dict[tuple[Reason, str, str | None, str], Cause] = {}
    for letter in letters:
        key = (letter.reason, letter.message.channel, letter.group, letter.cause)
        before = found.get(key)
        found[key] = Cause(
            reason=letter.reason,
            channel=letter.message.channel,
            group=letter.group,
            cause=letter.cause,
            count=1 if before is None else before.count + 1,
            oldest=letter.parked if before is None else before.oldest,
            newest=letter.parked,
            example=letter.id,
        )
    return list(found.values())


class Redriven(msgspec.Struct, frozen=True):
    """What became of one redrive, or of a dry run what would become of it.

    Attributes:
        id: the dead letter's.
        message_id: the message's; None when there is no such letter.
        receivers: how many groups and listeners got it; None: the transport cannot know, or it was a dry run.
        error: why it stays a dead letter, or that it became one again; None: it was sent.
        to: in a dry run, whom it would go to.
        became: the id of the dead letter that it became again; None: of none that is known.
    """

    id: str
    message_id: str | None = None
    receivers: int | None = None
    error: str | None = None
    to: tuple[str, ...] = ()
    became: str | None = None
