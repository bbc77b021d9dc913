"""The bytes that a raw client sends beside a body, so that it sends as many as pabal does."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from benchmarks.load import CHANNEL, ORDERS, encode_order
from pabal.model.cloudevents import pack, to_binary, to_structured
from pabal.model.message import Message, new_id

_BODY = encode_order(ORDERS[0])
_MESSAGE = Message(
    id=new_id(),
    channel=CHANNEL,
    body=_BODY,
    content_type="application/json",
    type=CHANNEL,
    source="pabal",
    time=datetime.now(UTC),
)

HEADERS = to_binary(_MESSAGE, percent=True)
"""A message's metadata as headers."""

ATTRIBUTES = pack(_MESSAGE)
"""The same as an object of JSON."""

ANSWER_TO = f"answers.{new_id()}.{new_id()}"
"""Where answers go."""

_BEFORE, _, _AFTER = to_structured(_MESSAGE).partition(_BODY)
_ASKED = to_structured(replace(_MESSAGE, reply_to=ANSWER_TO))
_ASKED_HEAD, _, _ASKED_REST = _ASKED.partition(_MESSAGE.id.encode())
_ASKED_MIDDLE, _, _ASKED_TAIL = _ASKED_REST.partition(_BODY)
_ANSWERED = to_structured(replace(_MESSAGE, id=new_id(), channel=ANSWER_TO, type=ANSWER_TO, correlation_id=_MESSAGE.id))
_ANSWERED_HEAD, _, _ANSWERED_REST = _ANSWERED.partition(_MESSAGE.id.encode())
_ANSWERED_MIDDLE, _, _ANSWERED_TAIL = _ANSWERED_REST.partition(_BODY)


def structured(body: bytes) -> bytes:
    """A body within a whole event."""
    return _BEFORE + body + _AFTER


def request(id: str, body: bytes) -> bytes:
    """A request as a whole event."""
    return b"".join((_ASKED_HEAD, id.encode(), _ASKED_MIDDLE, body, _ASKED_TAIL))


def answer(id: str, body: bytes) -> bytes:
    """The answer to the request of that id."""
    return b"".join((_ANSWERED_HEAD, id.encode(), _ANSWERED_MIDDLE, body, _ANSWERED_TAIL))
