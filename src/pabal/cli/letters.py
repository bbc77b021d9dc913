"""What dead letters and their redrives look like, as JSON and to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from pabal.cli.body import readable
from pabal.cli.lines import body_fields, indented
from pabal.cli.printing import age, counted
from pabal.model.dead import Cause, DeadLetter, Edit, Redriven


class AttemptLine(msgspec.Struct):
    """A failed attempt as JSON."""

    time: datetime
    error: str
    traceback: str


class EditLine(msgspec.Struct, kw_only=True):
    """A change of a letter as JSON: what was there before."""

    time: datetime
    by: str
    headers: Mapping[str, str]
    content_type: str | None
    body: object = UNSET
    body_base64: str | UnsetType = UNSET


class LetterLine(msgspec.Struct, kw_only=True):
    """A dead letter as JSON; what it has nothing of is left out."""

    id: str
    message_id: str
    channel: str
    group: str | None
    reason: str
    cause: str | UnsetType = UNSET
    parked: datetime
    redriven: datetime | UnsetType = UNSET
    attempts: list[AttemptLine]
    edits: list[EditLine] | UnsetType = UNSET
    past: list[LetterLine] | UnsetType = UNSET
    headers: Mapping[str, str] | UnsetType = UNSET
    body: object = UNSET
    body_base64: str | UnsetType = UNSET


class RedrivenLine(msgspec.Struct):
    """What became of a redrive as JSON; `to` is there in a dry run only, `became` when it is a dead letter again."""

    id: str
    message_id: str | None
    receivers: int | None
    error: str | None
    to: tuple[str, ...] | UnsetType = UNSET
    became: str | UnsetType = UNSET


def letter_line(letter: DeadLetter) -> LetterLine:
    """A dead letter as JSON."""
    return LetterLine(
        id=letter.id,
        message_id=letter.message.id,
        channel=letter.message.channel,
        group=letter.group,
        reason=letter.reason,
        cause=letter.cause or UNSET,
        parked=letter.parked,
        redriven=letter.redriven or UNSET,
        attempts=[AttemptLine(failure.time, failure.error, failure.traceback) for failure in letter.attempts],
        edits=[_edit_line(edit) for edit in letter.edits] or UNSET,
        past=[letter_line(earlier) for earlier in letter.past] or UNSET,
        headers=letter.message.headers or UNSET,
        **body_fields(letter.message.body, letter.message.content_type),
    )


def _edit_line(edit: Edit) -> EditLine:
    return EditLine(
        time=edit.time,
        by=edit.by,
        headers=edit.headers,
        content_type=edit.content_type,
        **body_fields(edit.body, edit.content_type),
    )


def redriven_line(redriven: Redriven, *, dry: bool) -> RedrivenLine:
    """What became of a redrive, or would, as JSON."""
    return RedrivenLine(
        redriven.id,
        redriven.message_id,
        redriven.receivers,
        redriven.error,
        redriven.to if dry else UNSET,
        redriven.became or UNSET,
    )


def redriven_text(redriven: Redriven, *, dry: bool) -> str:
    """What became of a redrive, or would, to a person."""
    if redriven.became is not None:
        return f"{redriven.id} came back: {redriven.error}"
    if redriven.error is not None:
        return f"{redriven.id} {'would stay' if dry else 'stays'}: {redriven.error}"
    if dry:
        return f"{redriven.id} would go to {', '.join(redriven.to)}"
    if redriven.receivers is None:
        return f"{redriven.id} sent"
    return f"{redriven.id} sent to {counted(redriven.receivers, 'receiver')}"


def letter_text(letter: DeadLetter) -> str:
    """A letter to a person, in full: what it is, and its history."""
    message = letter.message
    facts = {
        "dead letter": letter.id,
        "reason": letter.reason,
        "channel": message.channel,
        "group": _group(letter),
        "parked": f"{_time(letter.parked)} ({age(letter.parked)} ago)",
        "redriven": _redriven(letter),
        "message": f"{message.id} of {_time(message.time)}, from {message.source or 'unknown'}",
        "key": message.key or "",
        "headers": _headers(message.headers),
        "body": indented(readable(message.body, message.content_type)),
    }
    lines = [f"{name + ':':<13}{value}" for name, value in facts.items() if value]
    for earlier in letter.past:
        who = ", ".join(filter(None, (earlier.reason, _group(earlier))))
        lines += [f"before, as dead letter {earlier.id} ({who}):", *_history(earlier)]
    if letter.past:
        lines.append("since then:")
    return "\n".join([*lines, *_history(letter)])


def _history(letter: DeadLetter) -> Iterator[str]:
    """Who failed, when and why, who changed what, and when it was sent again."""
    for failure in letter.attempts:
        yield f"attempt {failure.attempt} at {_time(failure.time)}: {failure.error}"
        if failure.traceback:
            yield f"  {indented(failure.traceback.rstrip())}"
    for edit in letter.edits:
        yield f"edited at {_time(edit.time)}{edit.by and f' by {edit.by}'}; before that it had"
        if edit.headers:
            yield f"  headers: {_headers(edit.headers)}"
        yield f"  body:    {indented(readable(edit.body, edit.content_type))}"
    if letter.redriven is not None:
        yield f"redriven at {_time(letter.redriven)}"


def letter_row(letter: DeadLetter) -> tuple[str, ...]:
    """A dead letter as a row of a table, under `LETTER_HEADINGS`."""
    last = letter.attempts[-1].error if letter.attempts else ""
    return (
        letter.id,
        letter.reason,
        letter.message.channel,
        letter.group or "",
        age(letter.parked),
        str(len(letter.attempts)),
        last,
    )


LETTER_HEADINGS = ("id", "reason", "channel", "group", "age", "attempts", "last error")


def cause_row(cause: Cause) -> tuple[str, ...]:
    """Letters of one cause as a row of a table, under `CAUSE_HEADINGS`."""
    return (
        str(cause.count),
        cause.reason,
        cause.channel,
        cause.group or "",
        age(cause.oldest),
        age(cause.newest),
        cause.example,
        cause.cause,
    )


CAUSE_HEADINGS = ("letters", "reason", "channel", "group", "oldest", "newest", "example", "cause")


def _group(letter: DeadLetter) -> str:
    if letter.group is None:
        return ""
    return letter.group if letter.source == letter.message.channel else f"{letter.group} of {letter.source}"


def _redriven(letter: DeadLetter) -> str:
    if letter.redriven is not None:
        return f"{_time(letter.redriven)} ({age(letter.redriven)} ago): it is dead no more"
    return f"{counted(letter.redrives, 'time')} before" if letter.redrives else ""


def _headers(headers: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in headers.items())


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%SZ}"
