"""What a message, a receipt and a dead letter look like, as JSON and to a person."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pabal.cli.body import readable, value_of
from pabal.cli.printing import age, counted, plain
from pabal.model.dead import DeadLetter
from pabal.model.message import Message
from pabal.model.transport import Receipt
from pabal.runtime.plan import KEPT, Line


class ReceiptLine(msgspec.Struct):
    """A receipt as JSON."""

    id: str
    routed: bool | None
    receivers: int | None


class AnswerLine(msgspec.Struct, kw_only=True):
    """A request's answer as JSON."""

    body: object = UNSET
    body_base64: str | UnsetType = UNSET


class MessageLine(msgspec.Struct, kw_only=True):
    """A message as JSON: `body` is a JSON value for JSON and a string for text, else there is `body_base64`."""

    id: str
    channel: str
    group: str | None
    key: str | None
    headers: Mapping[str, str]
    time: datetime
    attempt: int
    body: object = UNSET
    body_base64: str | UnsetType = UNSET


class AttemptLine(msgspec.Struct):
    """A failed attempt as JSON."""

    time: datetime
    error: str
    traceback: str


class LetterLine(msgspec.Struct, kw_only=True):
    """A dead letter as JSON."""

    id: str
    message_id: str
    channel: str
    group: str | None
    reason: str
    parked: datetime
    attempts: list[AttemptLine]
    body: object = UNSET
    body_base64: str | UnsetType = UNSET


def receipt_line(receipt: Receipt) -> ReceiptLine:
    """A receipt as JSON."""
    return ReceiptLine(receipt.id, receipt.routed, receipt.receivers)


def message_line(message: Message, *, group: str | None, attempt: int) -> MessageLine:
    """A delivered message as JSON."""
    return MessageLine(
        id=message.id,
        channel=message.channel,
        group=group,
        key=message.key,
        headers=message.headers,
        time=message.time,
        attempt=attempt,
        **body_fields(message.body, message.content_type),
    )


def letter_line(letter: DeadLetter) -> LetterLine:
    """A dead letter as JSON."""
    return LetterLine(
        id=letter.id,
        message_id=letter.message.id,
        channel=letter.message.channel,
        group=letter.group,
        reason=letter.reason,
        parked=letter.parked,
        attempts=[AttemptLine(failure.time, failure.error, failure.traceback) for failure in letter.attempts],
        **body_fields(letter.message.body, letter.message.content_type),
    )


def body_fields(body: bytes, content_type: str | None) -> dict[str, Any]:
    """``body`` for JSON and text, ``body_base64`` for anything else."""
    value = value_of(body, content_type)
    return {"body_base64": b64encode(body).decode()} if value is None else {"body": value}


def received(receipt: Receipt, unrouted: Line) -> str:
    """Who got a published message, in words; `unrouted` is what the plan says of those that nobody takes."""
    if receipt.routed is False:
        kept = "" if unrouted.reason == KEPT else f" ({unrouted.reason})"
        return f"0 receivers: nobody listens, so it became a dead letter{kept}"
    if receipt.receivers is not None:
        return counted(receipt.receivers, "receiver")
    return "received; how many got it is unknown" if receipt.routed else f"taken; receivers unknown ({unrouted.reason})"


def message_text(message: Message, *, attempt: int) -> str:
    """A delivered message to a person: its channel and body, and below what else there is to know."""
    more = [f"id {message.id}", f"at {message.time:%Y-%m-%d %H:%M:%SZ}"]
    if message.key is not None:
        more.append(f"key {message.key}")
    if attempt > 1:
        more.append(f"attempt {attempt}")
    more += [f"{name}={value}" for name, value in message.headers.items()]
    return f"{message.channel}  {indented(readable(message.body, message.content_type))}\n  {', '.join(more)}"


def letter_text(letter: DeadLetter) -> str:
    """A dead letter to a person, in full."""
    message = letter.message
    facts = {
        "dead letter": letter.id,
        "reason": letter.reason,
        "channel": message.channel,
        "group": _group(letter),
        "parked": f"{letter.parked:%Y-%m-%d %H:%M:%SZ} ({age(letter.parked)} ago)",
        "redriven": f"{counted(letter.redrives, 'time')} before" if letter.redrives else "",
        "message": f"{message.id} of {message.time:%Y-%m-%d %H:%M:%SZ}, from {message.source or 'unknown'}",
        "key": message.key or "",
        "headers": ", ".join(f"{name}={value}" for name, value in message.headers.items()),
        "body": indented(readable(message.body, message.content_type)),
    }
    lines = [f"{name + ':':<13}{value}" for name, value in facts.items() if value]
    for failure in letter.attempts:
        lines.append(f"attempt {failure.attempt} at {failure.time:%Y-%m-%d %H:%M:%SZ}: {failure.error}")
        if failure.traceback:
            lines.append(f"  {indented(failure.traceback.rstrip())}")
    return "\n".join(lines)


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


def indented(text: str) -> str:
    """Text of several lines, so that the later ones stand below the first."""
    return plain(text).replace("\n", "\n  ")


def _group(letter: DeadLetter) -> str:
    if letter.group is None:
        return ""
    return letter.group if letter.source == letter.message.channel else f"{letter.group} of {letter.source}"
