import threading
import time

import pytest

from pabal.messagebox.sqlite.jobs import Jobs


def test_jobs_come_in_their_order_and_no_more_than_asked_for() -> None:
    """What is there is taken at once, oldest first; the rest the next time."""
    jobs: Jobs[int] = Jobs()
    for number in range(5):
        jobs.put(number)
    assert [[0, 1, 2], [3, 4], []] == [jobs.take(3, patience=0) for _ in range(3)]


def test_a_waiting_taker_wakes_for_a_job() -> None:
    """It does not wait its patience out."""
    jobs: Jobs[str] = Jobs()
    threading.Timer(0.01, jobs.put, ["job"]).start()
    assert ["job"] == jobs.take(9, patience=60)


def test_patience_ends() -> None:
    """Nothing comes: an empty list, not before its time, and no matter what was taken before."""
    jobs: Jobs[str] = Jobs()
    jobs.put("job")
    jobs.take(9, patience=0)
    started = time.monotonic()
    assert [] == jobs.take(9, patience=0.02)
    assert 0.019 < time.monotonic() - started


@pytest.mark.timeout(60)
def test_the_shortest_patience_ends_too() -> None:
    """However little it is, and however much of it has gone before the wait begins: the box looks at its file again."""
    for number in range(50_000):
        assert [] == Jobs[str]().take(1, patience=1e-6 + (number % 40) * 1e-7)


def test_nothing_is_lost_or_overtaken_between_two_busy_threads() -> None:
    """Whatever the two do at the same moment, every job arrives once, in its order."""
    jobs: Jobs[int] = Jobs()
    many = 100_000

    def put() -> None:
        for number in range(many):
            jobs.put(number)

    putting = threading.Thread(target=put)
    putting.start()
    taken: list[int] = []
    while len(taken) < many:
        taken += jobs.take(64, patience=10)
    putting.join()
    assert list(range(many)) == taken
