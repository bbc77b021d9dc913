from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pabal import Backoff, Failure, Reject, Retry
from pabal.model.outcome import Rejected, Retried
from pabal.runtime import decide
from tests.unit.runtime.values import NOW, delivery

BACKOFF = Backoff(attempts=3, first=1.0, factor=2.0, most=10.0)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """`error` as it is once it was raised."""
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


@pytest.mark.parametrize(("seconds", "reason"), [(-1, "expired"), (0, "expired"), (1, None)])
def test_expired(seconds: int, reason: str | None) -> None:
    """A message whose time is up, to the instant, is a dead letter and not handled."""
    ended = decide.before(delivery(expires=NOW + timedelta(seconds=seconds)), BACKOFF, NOW)
    assert (ended and ended.reason) == reason


def test_redriven_is_never_expired() -> None:
    """What a person sent again is handled, however old it is."""
    assert decide.before(delivery(redrive=1, expires=NOW - timedelta(days=1)), BACKOFF, NOW) is None


@pytest.mark.parametrize(("attempt", "reason"), [(12, None), (13, "exhausted")])
def test_deliveries_are_capped(attempt: int, reason: str | None) -> None:
    """Deliveries that end without an outcome are capped at four times the attempts."""
    ended = decide.before(delivery(attempt), BACKOFF, NOW)
    assert (ended and ended.reason) == reason


def test_reject_ends_at_once() -> None:
    """Reject is a dead letter at the first attempt, with its reason as the record."""
    outcome = decide.after(delivery(), raised(Reject("not ours")), BACKOFF, NOW, failures=0)
    cause = outcome.failure.cause if outcome.failure is not None else ""
    assert cause.startswith("Reject at tests/unit/runtime/test_decide.py:")
    assert outcome == Rejected("rejected", Failure(NOW, 1, "Reject: not ours", cause=cause))


def test_retry_after() -> None:
    """Retry(after=) is kept to the second."""
    outcome = decide.after(delivery(), raised(Retry("later", after=7.5)), BACKOFF, NOW, failures=0)
    cause = outcome.failure.cause if outcome.failure is not None else ""
    assert cause.endswith(" raised")
    assert outcome == Retried(7.5, Failure(NOW, 1, "Retry: later", cause=cause))


def test_retry_counts_as_an_attempt() -> None:
    """Retry(after=) cannot go on for ever: the last attempt is the last."""
    outcome = decide.after(delivery(3), raised(Retry(after=0)), BACKOFF, NOW, failures=2)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "exhausted"


@given(failures=st.integers(0, 20), attempts=st.integers(1, 20))
def test_attempts(failures: int, attempts: int) -> None:
    """A message is tried exactly `attempts` times."""
    outcome = decide.after(delivery(), raised(ValueError("no")), Backoff(attempts=attempts), NOW, failures=failures)
    assert isinstance(outcome, Rejected) == (failures + 1 >= attempts)


def test_traceback_has_the_error_and_its_cause() -> None:
    """The record holds the whole traceback, causes included."""
    error = raised(ValueError("outer\nsecond line"), raised(KeyError("inner")))
    failure = decide.describe(delivery(2), error, NOW)
    assert (failure.attempt, failure.error) == (2, "ValueError: outer")
    assert "KeyError: 'inner'" in failure.traceback
    assert "direct cause" in failure.traceback
    assert failure.traceback.endswith("ValueError: outer\nsecond line\n")


def test_retry_from_an_error_keeps_its_cause() -> None:
    """`raise Retry() from error` does not hide the error."""
    failure = decide.describe(delivery(), raised(Retry("busy"), ConnectionError("refused")), NOW)
    assert "ConnectionError: refused" in failure.traceback


@given(text=st.text(st.characters(codec=None)))
def test_records_can_be_stored(text: str) -> None:
    """No error text breaks a store: neither NUL nor lone surrogates are left, and the line is one and short."""
    failure = decide.describe(delivery(), raised(ValueError(text)), NOW)
    for kept in (failure.error, failure.traceback):
        assert "\0" not in kept
        assert kept.encode()
    assert "\n" not in failure.error
    assert len(failure.error) <= 1000


def test_error_without_text() -> None:
    """An exception without a text is known by its class."""
    assert decide.one_line(KeyError()) == "KeyError"


def test_broken_text() -> None:
    """An exception whose text raises is a failure as any other."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    failure = decide.describe(delivery(), raised(Broken()), NOW)
    assert failure.error == "Broken: <its text cannot be read: RuntimeError>"


def test_endless_recursion_is_a_record_of_bounded_size() -> None:
    """A huge traceback keeps its end."""

    def dig(depth: int) -> int:
        return dig(depth + 1) if depth % 2 else dig(depth + 3)

    with pytest.raises(RecursionError) as caught:
        dig(0)
    failure = decide.describe(delivery(), caught.value, NOW)
    assert len(failure.traceback) <= 16_000
    assert failure.traceback.rstrip().splitlines()[-1].startswith("RecursionError")
