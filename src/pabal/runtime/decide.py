"""From what a handler did to how its delivery ends: decided purely, written elsewhere."""

from __future__ import annotations

import traceback
from datetime import datetime

from pabal.model.outcome import Failure, Outcome, Reason, Reject, Rejected, Retried, Retry
from pabal.model.transport import Delivery
from pabal.runtime.retry import DELIVERIES_PER_ATTEMPT, Backoff

_LONGEST_TRACEBACK = 16_000


def before(delivery: Delivery, retry: Backoff, now: datetime) -> Rejected | None:
    """How a delivery ends before its handler is called at all, or None when the handler is to be called."""
    expires = delivery.message.expires
    if expires is not None and expires <= now:
        return Rejected("expired", Failure(now, delivery.attempt, f"expired at {expires.isoformat()}"))
    if delivery.attempt > DELIVERIES_PER_ATTEMPT * retry.attempts:
        text = f"delivered {delivery.attempt - 1} times without an outcome: its workers died or lost their lease"
        return Rejected("exhausted", Failure(now, delivery.attempt, text))
    return None


def after(delivery: Delivery, error: BaseException, retry: Backoff, now: datetime, *, failures: int) -> Outcome:
    """How a delivery ends whose handler raised `error`, after `failures` earlier ones."""
    failure = describe(delivery, error, now)
    if isinstance(error, Reject):
        return Rejected("rejected", failure)
    if failures + 1 >= retry.attempts:
        return Rejected("exhausted", failure)
    if isinstance(error, Retry) and error.after is not None:
        return Retried(max(0.0, error.after), failure)
    return Retried(retry.delay(failures + 1), failure)


def undecodable(delivery: Delivery, error: BaseException, now: datetime) -> Rejected:
    """How a delivery ends whose body is not what its handler takes."""
    reason: Reason = "undecodable"
    return Rejected(reason, describe(delivery, error, now))


def describe(delivery: Delivery, error: BaseException, now: datetime) -> Failure:
    """The record of one failed attempt: the error in one line, and its traceback from the handler on."""
    if isinstance(error, Reject | Retry):
        return Failure(now, delivery.attempt, one_line(error))
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_globals.get("__name__", "")):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    return Failure(now, delivery.attempt, one_line(error), text[-_LONGEST_TRACEBACK:])


def one_line(error: BaseException) -> str:
    """An exception as one line: its class and the first line of its text."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_ours(module: str) -> bool:
    return module.startswith(("pabal.runtime.", "asyncio.")) or module == "asyncio"
