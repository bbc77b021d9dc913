"""One attempt: from a delivery to its outcome, through the handler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from concurrent.futures import Executor
from datetime import datetime
from typing import Any

from pabal.model.clock import Clock, utc
from pabal.model.errors import PabalError
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Outcome, Rejected, Retried
from pabal.model.transport import Delivery, GroupId
from pabal.runtime import decide
from pabal.runtime.context import Context, Handling
from pabal.runtime.handler import Handler
from pabal.runtime.middleware import around_handling
from pabal.runtime.publisher import Publisher
from pabal.runtime.reply import Requester, Responder
from pabal.runtime.reports import Counters
from pabal.runtime.retry import Backoff
from pabal.runtime.signature import compile_invoke

log = logging.getLogger("pabal.worker")


class Attempt:
    """Calls one handler for one delivery at a time, any number of times.

    `over` is set when the worker ends: from then on a cancellation is the worker's, before it is the handler's.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        retry: Backoff,
        keeps_history: bool,
        clock: Clock,
        counters: Counters,
        publisher: Publisher,
        requester: Requester,
        responder: Responder | None,
        executor: Executor | None,
    ) -> None:
        self.over = False
        self._name = handler.name
        self._group = handler.group
        by = None if handler.group is None else GroupId(handler.source, handler.group)
        self._handling = Handling(handler.name, by, publisher, requester)
        self._decode = handler.signature.decode
        self._answers_none = handler.signature.answers_none
        invoke = compile_invoke(handler.function, handler.signature, executor, handler.provided)
        self._invoke = around_handling(handler.around, invoke)
        alone = not (handler.signature.blocking or handler.signature.further or handler.around)
        self._takes_value = handler.function if alone else None  # most handlers need no context made
        self._timeout = handler.timeout
        self._retry = retry
        self._attempts = retry.attempts
        self._keeps_history = keeps_history
        self._clock = clock
        self._counters = counters
        # A handler that never answers takes a request as it takes any other message.
        self._responder = responder if handler.signature.answers else None

    async def run(self, delivery: Delivery) -> Outcome:
        """Decode, call and decide; whatever the handler raises becomes an outcome."""
        message = delivery.message
        if message.expires is not None or delivery.attempt > self._attempts:
            ended = decide.before(delivery, self._retry, self._now())
            if ended is not None:
                return self._ended(delivery, ended)
        decoding = True
        try:
            value = message if self._decode is None else self._decode(message.body, message.content_type)
            decoding = False
            if self._takes_value is not None:
                call = self._takes_value(value)
            else:
                call = self._invoke(value, Context(message, delivery.attempt, self._handling))
            result = await (call if self._timeout is None else within(self._timeout, call))
            if self._responder is not None and message.reply_to is not None:
                await self._answer(self._responder, message, result)
        except asyncio.CancelledError as error:
            if self.over:
                raise
            return await self._failed(delivery, error, decoding=False)
        except Exception as error:  # noqa: BLE001 - the one place: whatever a handler raises is an outcome, never a crash
            return await self._failed(delivery, error, decoding=decoding)
        return ACKED

    async def _answer(self, responder: Responder, request: Message, result: object) -> None:
        if result is not None or self._answers_none:
            await responder.answer(request, result)

    async def _failed(self, delivery: Delivery, error: BaseException, *, decoding: bool) -> Outcome:
        self._counters.failed += 1
        if self._responder is not None and delivery.message.reply_to is not None:
            # The caller is told and decides; a request leaves no dead letter and is not tried again.
            try:
                await self._responder.fail(delivery.message, error)
            except PabalError as unsent:
                log.warning("%s: could not answer %s: %s", self._name, delivery.message.id, unsent)
            return ACKED
        if decoding:
            return self._ended(delivery, decide.undecodable(delivery, error, self._now()))
        return self._verdict(delivery, error)

    def _verdict(self, delivery: Delivery, error: BaseException) -> Outcome:
        failures = len(delivery.errors) if self._keeps_history else delivery.attempt - 1
        return self._ended(delivery, decide.after(delivery, error, self._retry, self._now(), failures=failures))

    def _ended(self, delivery: Delivery, outcome: Rejected | Retried) -> Outcome:
        """What was not handled, said in the log; a listener gets nothing twice and leaves nothing behind."""
        id, why = delivery.message.id, outcome.failure.error if outcome.failure is not None else ""
        if self._group is None:
            log.warning("%s failed on %s: %s", self._name, id, why)
            return ACKED
        if self._responder is not None and delivery.message.reply_to is not None:
            return ACKED  # a request that nobody waits for any more
        if isinstance(outcome, Retried):
            log.debug("%s failed on %s, again in %.1f s: %s", self._name, id, outcome.after, why)
        else:
            log.warning("%s: %s is a dead letter (%s): %s", self._name, id, outcome.reason, why)
        return outcome

    def _now(self) -> datetime:
        return utc(self._clock.time())


async def within(seconds: float, call: Coroutine[Any, Any, Any]) -> Any:
    """Await a handler's call for at most `seconds`; raises TimeoutError from where the handler was waiting."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call
    except TimeoutError as error:
        if not limit.expired():
            raise
        where = error.__cause__ or error
        raise TimeoutError(f"not done within {seconds:g} s").with_traceback(where.__traceback__) from None
