"""Choosing dead letters: by their ids, all of them, or by what they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict, get_args

from pabal.model.dead import LetterFilter
from pabal.model.errors import ConfigurationError
from pabal.model.outcome import Reason


class Choice(TypedDict, total=False):
    """What letters may be chosen by: those to which all fits that is given, and is not None.

    Attributes:
        reason: ``exhausted``, ``unrouted`` and so on.
        channel: their message's channel.
        group: the name of the group that failed.
        cause: what the last attempt failed of, as `DeadLetter.cause` says it
            (``ValueError at app/handlers.py:42 save``), or the exception alone (``ValueError``).
        since: parked at this time or later, an aware datetime.
        until: parked before this time, an aware datetime.
    """

    reason: Reason | None
    channel: str | None
    group: str | None
    cause: str | None
    since: datetime | None
    until: datetime | None


def wanted(choice: Choice, *, redriven: bool = False) -> LetterFilter:
    """The letters of a choice, all where it says nothing.

    Raises ConfigurationError for a reason that is none and a time without its zone, TypeError for an unknown name.
    """
    reason = choice.get("reason")
    if reason is not None and reason not in get_args(Reason):
        raise ConfigurationError(f"a reason is one of {', '.join(get_args(Reason))}, not {reason!r}")
    times: list[tuple[str, object]] = [("since", choice.get("since")), ("until", choice.get("until"))]
    for name, time in times:
        if time is not None and (not isinstance(time, datetime) or time.utcoffset() is None):
            raise ConfigurationError(f"{name} is an aware datetime, as datetime.now(UTC) is, not {time!r}")
    return LetterFilter(**choice, redriven=redriven)


def chosen(ids: Sequence[str] | None, choice: Choice, *, all: bool) -> LetterFilter:
    """The letters of one of three ways to choose; raises ConfigurationError for none of them, and for two at once."""
    if isinstance(ids, str):
        raise ConfigurationError("ids is a list of dead letters' ids")
    found = wanted(choice)
    says = any(value is not None for value in choice.values())
    if (ids is not None) + all + says != 1:
        raise ConfigurationError(
            "give the ids of dead letters, or all=True, or what to choose them by: reason, channel, group, cause, "
            "since, until"
        )
    return found if ids is None else LetterFilter(ids=list(dict.fromkeys(ids)))
