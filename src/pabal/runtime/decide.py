"""From what a handler did to how its delivery ends: decided purely, written elsewhere."""

from __future__ import annotations

import traceback
from datetime import datetime

from pabal.model.outcome import Failure, Reason, Reject, Rejected, Retried, Retry
from pabal.model.transport import Delivery
from pabal.runtime import stepping
from pabal.runtime.cause import cause_of
from pabal.runtime.retry import DELIVERIES_PER_ATTEMPT, Backoff

_LONGEST_TRACEBACK = 16_000
_LONGEST_LINE = 1_000


def before(delivery: Delivery, retry: Backoff, now: datetime) -> Rejected | None:
    """How a delivery ends before its handler is called at all, or None when the handler is to be called.

    What a person sent again is handled, however old it is.
    """
    expires = delivery.message.expires
    if expires is not None and expires <= now and not delivery.redrive:
        return Rejected("expired", Failure(now, delivery.attempt, f"expired at {expires.isoformat()}"))
    if delivery.attempt > DELIVERIES_PER_ATTEMPT * retry.attempts:
        text = f"delivered {delivery.attempt - 1} times without an outcome: its workers died or lost their lease"
        return Rejected("exhausted", Failure(now, delivery.attempt, text))
    return None


def after(
    delivery: Delivery, error: BaseException, retry: Backoff, now: datetime, *, failures: int
) -> Retried | Rejected:
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
    """The record of one failed attempt: the error in one line, its traceback from the handler on, and its cause."""
    cause = _storable(cause_of(error))[:_LONGEST_LINE]
    if isinstance(error, Reject | Retry) and error.__cause__ is None and error.__context__ is None:
        return Failure(now, delivery.attempt, one_line(error), cause=cause)
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_globals.get("__name__", "")):
        frames = frames.tb_next
    shown = traceback.TracebackException(type(error), error, frames)
    for part in (shown, shown.__cause__, shown.__context__):
        if part is not None:  # what was thrown into a waiting handler passed through the stepping last
            part.stack = traceback.StackSummary.from_list([f for f in part.stack if f.filename != stepping.__file__])
    text = "".join(shown.format())
    return Failure(now, delivery.attempt, one_line(error), _storable(text[-_LONGEST_TRACEBACK:]), cause)


def one_line(error: BaseException) -> str:
    """An exception as one line: its class and the first line of its text."""
    text = text_of(error).strip().partition("\n")[0]
    return _storable(f"{type(error).__name__}: {text}" if text else type(error).__name__)[:_LONGEST_LINE]


def text_of(error: BaseException) -> str:
    """An exception's text, whatever its class makes of it."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a class of the user's may have a broken __str__
        return f"<its text cannot be read: {type(broken).__name__}>"


def _storable(text: str) -> str:
    """`text` without what databases refuse: NUL and lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _is_ours(module: str) -> bool:
    return module.startswith(("pabal.runtime.", "asyncio.")) or module == "asyncio"
