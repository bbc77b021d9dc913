"""One attempt at a batch: from its deliveries to an outcome each, through one call of the handler."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from pabal.model.outcome import ACKED, Outcome
from pabal.model.transport import Delivery
from pabal.runtime import decide
from pabal.runtime.attempt import Attempt, within
from pabal.runtime.batch import BatchContext


class Item(msgspec.Struct, frozen=True):
    """A delivery with the value of its body."""

    delivery: Delivery
    value: Any


class BatchAttempt(Attempt):
    """Calls one handler for many deliveries at a time."""

    def read(self, delivery: Delivery) -> Item | Outcome:
        """The item that `delivery` is; what is expired or cannot be decoded ends at once, and no batch sees it."""
        message = delivery.message
        ended = decide.before(delivery, self._retry, self._now())
        if ended is not None:
            return self._ended(delivery, ended)
        try:
            return Item(delivery, message if self._decode is None else self._decode(message.body, message.content_type))
        except Exception as error:  # noqa: BLE001 - a custom codec may raise anything; the body is hostile
            self._counters.failed += 1
            return self._ended(delivery, decide.undecodable(delivery, error, self._now()))

    async def run_batch(self, items: Sequence[Item]) -> list[Outcome]:
        """Call the handler and decide about each item, in their order."""
        context = BatchContext([item.delivery for item in items], self._handling)
        failed: BaseException | None = None
        try:
            call = self._invoke([item.value for item in items], context)
            await (call if self._timeout is None else within(self._timeout, call))
        except asyncio.CancelledError as error:
            if self.over:
                raise
            failed = error
        except Exception as error:  # noqa: BLE001 - as in Attempt: whatever a handler raises is an outcome
            failed = error
        self._counters.failed += failed is not None
        return [self._outcome(item.delivery, context.error_of(index) or failed) for index, item in enumerate(items)]

    def _outcome(self, delivery: Delivery, error: BaseException | None) -> Outcome:
        return ACKED if error is None else self._verdict(delivery, error)
