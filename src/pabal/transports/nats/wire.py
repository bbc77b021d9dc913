"""Messages as NATS carries them: CloudEvents in binary mode, percent-encoded headers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pabal.model.cloudevents import foreign, from_binary, to_binary
from pabal.model.errors import CodecError
from pabal.model.message import Message
from pabal.model.transport import GroupId, Post
from pabal.transports.nats.subjects import PROBE, queue

if TYPE_CHECKING:
    from nats.aio.msg import Msg

GROUP = "pabal-group"
"""The one group that a post is for, by the name of its queue group; the others pass it by."""
REDRIVE = "pabal-redrive"

_LINE = 4  # a colon, a space, and the end of the line
_FRAME = 12 + 2  # the version's line and the empty one at the end


def headers_of(post: Post) -> dict[str, str]:
    """The headers of a post. Where an answer goes is told by the reply subject."""
    message = post.message
    if message.reply_to is not None:
        message = replace(message, reply_to=None)
    headers = to_binary(message, percent=True)
    if post.group is not None:
        headers[GROUP] = queue(post.group.source, post.group.name)
    if post.redrive:
        headers[REDRIVE] = str(post.redrive)
    return headers


def size(headers: dict[str, str]) -> int:
    """Bytes of headers on the wire; the server's limit counts them too."""
    return _FRAME + sum(len(name) + len(value) + _LINE for name, value in headers.items())


def message_of(channel: str, received: Msg, *, id: str, arrived: datetime) -> Message:
    """The message that was received; `id` and `arrived` are for one that is no CloudEvent."""
    headers = received.headers
    try:
        message = from_binary(channel, headers or {}, received.data, percent=True, arrived=arrived)
    except CodecError:
        content_type = next((value for name, value in (headers or {}).items() if name.lower() == "content-type"), None)
        message = foreign(channel, received.data, id=id, headers=headers, content_type=content_type, arrived=arrived)
    if received.reply and PROBE not in received.reply:
        return replace(message, reply_to=received.reply)
    return message


def is_for(received: Msg, group: GroupId | None) -> bool:
    """Whether a message is for this group: for everybody, or for this one alone."""
    headers = received.headers
    if not headers or GROUP not in headers:
        return True
    return group is not None and headers[GROUP] == queue(group.source, group.name)


def redrive_of(received: Msg) -> int:
    """How often a message was redriven."""
    text = (received.headers or {}).get(REDRIVE, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
