"""Choosing dead letters on the command line: the options, and what they come to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from pabal.bus import Bus
from pabal.cli.options import duration
from pabal.cli.printing import counted, note
from pabal.model.address import Address
from pabal.model.errors import ConfigurationError
from pabal.model.outcome import Reason
from pabal.runtime.choosing import Choice
from pabal.runtime.dead import DeadLetters


def moment(text: str) -> datetime:
    """A time: ISO 8601, in local time where it has no offset, or a duration ago as in ``2h``."""
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - timedelta(seconds=duration(text))
    except (typer.BadParameter, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time; write it as 2026-11-22T15:04 or, for some time ago, as 30m, 2h or 7d"
        ) from None


Ids = Annotated[list[str] | None, typer.Argument(metavar="IDS", help="Dead letters' ids.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All that there are now.")]
ReasonOption = Annotated[Reason | None, typer.Option("--reason", metavar="REASON", help="Only of this reason.")]
ChannelOption = Annotated[str | None, typer.Option("--channel", metavar="CHANNEL", help="Only of this channel.")]
GroupOption = Annotated[str | None, typer.Option("--group", metavar="GROUP", help="Only of this group.")]
CauseOption = Annotated[
    str | None,
    typer.Option("--cause", metavar="CAUSE", help="Only of this exception, or of one at its place: see --by-cause."),
]
Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=moment, metavar="TIME", help="Parked then or later: a time, or 2h for so long ago."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", parser=moment, metavar="TIME", help="Parked before: a time, or 2h for so long ago."),
]
BoxUrl = Annotated[
    str | None,
    typer.Option("--box", metavar="BOX", help="Where the dead letters are, if not at URL: as Bus(dead_letters=)."),
]


def choice(
    reason: Reason | None,
    channel: str | None,
    group: str | None,
    cause: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Choice:
    """What is chosen by."""
    return {"reason": reason, "channel": channel, "group": group, "cause": cause, "since": since, "until": until}


def check_chosen(ids: Sequence[str] | None, chosen: Choice, *, all: bool) -> None:
    """Raise ConfigurationError unless letters are chosen in one way."""
    if bool(ids) + all + any(value is not None for value in chosen.values()) != 1:
        raise ConfigurationError(
            "give the ids of dead letters, or --all, or what to choose them by: --reason, --channel, --group, --cause, "
            "--since, --until"
        )


def none_found(chosen: Choice, what: str = "dead letters") -> str:
    """What a person is told when there is nothing that fits."""
    return f"no {what}" if all(value is None for value in chosen.values()) else f"no {what} that fit"


@asynccontextmanager
async def letters_of(url: str, box: str | None) -> AsyncIterator[DeadLetters]:
    """The dead letters of `url`, kept in `box` where that is given, together with those that wait to be taken there."""
    async with Bus(url, dead_letters=box) as bus:
        if box is not None and (taken := await bus.dead_letters.collect()):
            note(f"took {counted(taken, 'dead letter')} from the channel dead-letters into {Address(box)}")
        yield bus.dead_letters


async def size(letters: DeadLetters, ids: Sequence[str] | None, chosen: Choice) -> int:
    """How many are chosen."""
    return len(set(ids)) if ids else sum(cause.count for cause in await letters.causes(**chosen))
