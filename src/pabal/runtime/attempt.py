"""One attempt: from a delivery to its outcome, through the handler."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor
from datetime import datetime

from pabal.model.clock import Clock, utc
from pabal.model.errors import PabalError
from pabal.model.outcome import ACKED, Outcome
from pabal.model.transport import Delivery
from pabal.runtime import decide
from pabal.runtime.context import Context
from pabal.runtime.handler import Handler
from pabal.runtime.publisher import Publisher
from pabal.runtime.reply import Requester, Responder
from pabal.runtime.retry import Backoff
from pabal.runtime.signature import compile_invoke
from pabal.runtime.stepping import isolated

log = logging.getLogger("pabal.worker")


class Attempt:
    """Calls one handler for one delivery at a time, any number of times."""

    def __init__(
        self,
        handler: Handler,
        *,
        retry: Backoff,
        keeps_history: bool,
        clock: Clock,
        publisher: Publisher,
        requester: Requester,
        responder: Responder | None,
        executor: Executor | None,
    ) -> None:
        self._handler = handler
        self._group = handler.group
        self._decode = handler.signature.decode
        self._invoke = compile_invoke(handler.function, handler.signature, executor)
        self._timeout = handler.timeout
        self._retry = retry
        self._most_deliveries = retry.attempts
        self._keeps_history = keeps_history
        self._clock = clock
        self._publisher = publisher
        self._requester = requester
        self._responder = responder

    async def run(self, delivery: Delivery) -> Outcome:
        """Decode, call and decide; whatever the handler raises becomes an outcome."""
        message = delivery.message
        if message.expires is not None or delivery.attempt > self._most_deliveries:
            ended = decide.before(delivery, self._retry, self._now())
            if ended is not None:
                return ACKED if message.reply_to is not None or self._group is None else ended
        decoding = True
        try:
            value = message if self._decode is None else self._decode(message.body, message.content_type)
            decoding = False
            context = Context(message, delivery.attempt, self._group, self._publisher, self._requester)
            if self._timeout is None:
                result = await isolated(self._invoke(value, context))
            else:
                async with asyncio.timeout(self._timeout):
                    result = await isolated(self._invoke(value, context))
            if message.reply_to is not None:
                await self._answer(delivery, result)
        except Exception as error:  # noqa: BLE001 - the one place: whatever a handler raises is an outcome, never a crash
            return await self._failed(delivery, error, decoding=decoding)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return await self._failed(delivery, error, decoding=False)
        return ACKED

    async def _answer(self, delivery: Delivery, result: object) -> None:
        signature = self._handler.signature
        if self._responder is None or not signature.answers or (result is None and not signature.answers_none):
            return
        await self._responder.answer(delivery.message, result)

    async def _failed(self, delivery: Delivery, error: BaseException, *, decoding: bool) -> Outcome:
        now = self._now()
        if delivery.message.reply_to is not None and self._responder is not None:
            # The caller is told and decides; a request leaves no dead letter and is not tried again.
            try:
                await self._responder.fail(delivery.message, error)
            except PabalError as unsent:
                log.warning("%s: could not answer %s: %s", self._handler.name, delivery.message.id, unsent)
            return ACKED
        if decoding:
            outcome: Outcome = decide.undecodable(delivery, error, now)
        else:
            failures = len(delivery.errors) if self._keeps_history else delivery.attempt - 1
            outcome = decide.after(delivery, error, self._retry, now, failures=failures)
        if self._group is None:
            log.warning("%s failed on %s: %s", self._handler.name, delivery.message.id, decide.one_line(error))
            return ACKED
        return outcome

    def _now(self) -> datetime:
        return utc(self._clock.time())
