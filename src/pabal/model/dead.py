"""Dead letters: messages that ended undelivered, kept for a person to read and send again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from pabal.model.message import Message
from pabal.model.outcome import Failure, Reason


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be delivered.

    Attributes:
        id: the letter's own; two groups can fail on one message.
        message: as it was published.
        reason: why it ended here.
        source: the channel or pattern of the group that failed; None when there was no group.
        group: the name of the group that failed; None when there was none.
        attempts: every failed attempt that the transport could keep, oldest first.
        parked: when it became a dead letter, aware UTC.
        redrives: how often the message was sent again before.
    """

    id: str
    message: Message
    reason: Reason
    source: str | None = None
    group: str | None = None
    attempts: tuple[Failure, ...] = ()
    parked: datetime
    redrives: int = 0


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are wanted; None fits all."""

    ids: Sequence[str] | None = None
    channel: str | None = None
    group: str | None = None
    reason: Reason | None = None

    def fits(self, letter: DeadLetter) -> bool:
        """Whether `letter` is one of those; for a transport that looks at each."""
        return (
            (self.ids is None or letter.id in self.ids)
            and (self.channel is None or letter.message.channel == self.channel)
            and (self.group is None or letter.group == self.group)
            and (self.reason is None or letter.reason == self.reason)
        )


class Redriven(msgspec.Struct, frozen=True):
    """What became of one redrive.

    Attributes:
        id: the dead letter's.
        message_id: the message's; None when there is no such letter.
        receivers: how many groups and listeners got it; None: the transport cannot know.
        error: why it stays a dead letter; None: it was sent.
    """

    id: str
    message_id: str | None = None
    receivers: int | None = None
    error: str | None = None
