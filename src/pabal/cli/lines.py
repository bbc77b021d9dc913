"""What a message and a receipt look like, as JSON and to a person."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pabal.cli.body import readable, value_of
from pabal.cli.printing import counted, plain
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


def indented(text: str) -> str:
    """Text of several lines, so that the later ones stand below the first."""
    return plain(text).replace("\n", "\n  ")
