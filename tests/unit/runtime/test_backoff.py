import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pabal import Backoff, ConfigurationError, Retry

SECONDS = st.floats(0, 1e6)


@given(first=SECONDS, most=SECONDS, factor=st.floats(1, 1e3), failures=st.integers(1, 10_000), rand=st.floats(0, 1))
def test_delay_is_within_its_bounds(first: float, most: float, factor: float, failures: int, rand: float) -> None:
    """A wait is a part of first * factor ** (n - 1), never above `most`, however often it failed."""
    delay = Backoff(first=first, most=most, factor=factor).delay(failures, rand=lambda: rand)
    assert 0 <= delay <= most
    if failures < 100:
        assert delay <= first * factor ** (failures - 1)


@given(failures=st.integers(1, 50))
def test_longest_wait_never_falls(failures: int) -> None:
    """The bound of the wait grows until it is `most`."""
    backoff = Backoff()
    assert backoff.delay(failures, rand=lambda: 1.0) <= backoff.delay(failures + 1, rand=lambda: 1.0)


def test_series() -> None:
    """The default waits up to 0.5, 1, 2 and 4 s."""
    assert [Backoff().delay(n, rand=lambda: 1.0) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]


def test_no_wait_stays_no_wait() -> None:
    """first=0 tries again at once, also after very many failures."""
    assert Backoff(first=0).delay(100_000) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"attempts": True},
        {"first": -1},
        {"first": math.nan},
        {"first": math.inf},
        {"most": -0.1},
        {"most": math.inf},
        {"factor": 0.5},
        {"factor": math.nan},
    ],
)
def test_wrong_backoff(wrong: dict[str, Any]) -> None:
    """A backoff that makes no sense is refused when it is written."""
    with pytest.raises(ConfigurationError, match="Backoff needs"):
        Backoff(**wrong)


@pytest.mark.parametrize("after", [-1, math.nan, math.inf])
def test_wrong_retry_after(after: float) -> None:
    """Retry(after=) takes seconds from now and nothing else."""
    with pytest.raises(ConfigurationError, match="after is seconds from now"):
        Retry(after=after)
