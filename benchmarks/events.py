"""The bytes that a raw client sends beside a body, so that it sends as many as pabal does."""

from __future__ import annotations

from datetime import UTC, datetime

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

_BEFORE, _, _AFTER = to_structured(_MESSAGE).partition(_BODY)


def structured(body: bytes) -> bytes:
    """A body within a whole event."""
    return _BEFORE + body + _AFTER
