from hypothesis import given
from hypothesis import strategies as st

from pabal.runtime.window import Window

LEASES = st.none() | st.floats(0.1, 60)


@given(
    most=st.integers(1, 500),
    concurrency=st.integers(1, 500),
    lease=LEASES,
    calls=st.lists(st.floats(-1, 100), max_size=200),
)
def test_size_stays_in_bounds(most: int, concurrency: int, lease: float | None, calls: list[float]) -> None:
    """Whatever the handler does, and whatever the clock does, every lane has work and no window is overrun."""
    window = Window(most, concurrency, lease)
    for seconds in calls:
        before = window.size
        assert window.observe(seconds) == (window.size != before)
        assert concurrency <= window.size <= max(most, concurrency)


def test_fast_handler_gets_the_whole_window() -> None:
    """A handler that shows itself fast soon holds the whole window ready."""
    window = Window(100, 1, 30.0)
    for _ in range(64):
        window.observe(0.0001)
    assert window.size == 100


@given(lease=LEASES, concurrency=st.integers(1, 20))
def test_what_waits_starts_within_a_quarter_of_the_lease(lease: float | None, concurrency: int) -> None:
    """A handler that becomes slow holds no more than it begins within a quarter of the lease, and within 1 s."""
    window = Window(100, concurrency, lease)
    for _ in range(64):
        window.observe(0.0001)
    for _ in range(400):
        window.observe(0.05)
    wait = min(1.0, lease / 4 if lease is not None else 1.0)
    assert window.size <= max(concurrency, wait * concurrency / 0.05 + 1)


@given(most=st.integers(1, 500), lease=LEASES, calls=st.lists(st.floats(0, 0.1), min_size=1, max_size=50))
def test_calls_may_be_observed_together(most: int, lease: float | None, calls: list[float]) -> None:
    """Several calls that are told at once count as if each had taken their mean."""
    apart, together = Window(most, 1, lease), Window(most, 1, lease)
    mean = sum(calls) / len(calls)
    for _ in calls:
        apart.observe(mean)
    for _ in calls:  # as often, since a window at most doubles each time
        together.observe(mean, len(calls))
    assert apart.size == together.size


def test_begins_small() -> None:
    """The first messages are few, so that a slow handler hoards nothing."""
    assert Window(100, 1, 30.0).size == 3


def test_private_copies_never_shrink() -> None:
    """A listener's copies are nobody else's: what it holds is never given back for being slow."""
    window = Window(100, 1, None, shared=False)
    assert window.size == 100
    assert not any(window.observe(10.0) for _ in range(20))
    assert window.size == 100
