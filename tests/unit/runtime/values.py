"""Values that the tests of the runtime share."""

from datetime import UTC, datetime
from typing import Any

from pabal.model.message import Message
from pabal.model.outcome import Failure
from pabal.model.transport import Delivery

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def message(**changes: Any) -> Message:
    return Message(**{"id": "m", "channel": "a", "body": b"{}", "time": NOW, **changes})


def delivery(attempt: int = 1, *, redrive: int = 0, errors: tuple[Failure, ...] = (), **changes: Any) -> Delivery:
    return Delivery(message(**changes), attempt, errors, redrive)
