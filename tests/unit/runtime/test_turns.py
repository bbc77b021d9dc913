from collections import defaultdict
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from pabal import Message
from pabal.model.transport import Delivery
from pabal.runtime.turns import Turns


def deliveries(*keys: str | None) -> list[Delivery]:
    time = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Delivery(Message(id=str(number), channel="a", key=key, time=time), token=number)
        for number, key in enumerate(keys)
    ]


def test_one_of_each_key_is_ready() -> None:
    """Of each key the first is ready; the next is once that has ended."""
    turns = Turns()
    a0, a1, b0, n0, n1 = deliveries("a", "a", "b", None, None)
    assert all(turns.take(delivery, 10) for delivery in (a0, a1, b0, n0, n1))
    assert list(turns.ready) == [a0, b0, n0, n1]
    assert turns.behind == 1
    turns.ready.clear()
    turns.end(b0)
    turns.end(n0)
    assert list(turns.ready) == []
    turns.end(a0)
    assert list(turns.ready) == [a1]
    assert turns.behind == 0


def test_a_key_takes_no_more_than_its_share() -> None:
    """The running one counts."""
    turns = Turns()
    a0, a1, a2, b0 = deliveries("a", "a", "a", "b")
    assert [turns.take(delivery, 2) for delivery in (a0, a1, a2, b0)] == [True, True, False, True]


def test_a_key_that_goes_back_takes_nothing_until_that_is_recorded() -> None:
    """What was on the way does not overtake what was given back."""
    turns = Turns()
    a0, a1, a2 = deliveries("a", "a", "a")
    turns.take(a0, 10)
    turns.take(a1, 10)
    turns.ready.clear()
    turns.returning(a0)
    assert turns.break_off(a0) == [a1]
    turns.returning(a1)
    assert not turns.take(a2, 10)
    turns.recorded([a1])
    assert not turns.take(a2, 10)
    turns.recorded([a0])
    assert turns.take(a2, 10)
    assert list(turns.ready) == [a2]


def test_what_follows_a_lost_one_goes_back() -> None:
    """Whether the lost one runs, is ready or stands behind another, those behind it must not run here."""
    turns = Turns()
    a0, a1, a2, a3, b0, b1 = deliveries("a", "a", "a", "a", "b", "b")
    for delivery in (a0, a1, a2, a3, b0, b1):
        turns.take(delivery, 10)
    turns.ready.popleft()
    assert a2 in turns
    assert turns.lose(a2) == [a3]
    assert a2 not in turns
    assert turns.lose(a0) == [a1]
    turns.end(a0)
    assert turns.lose(b0) == [b1]
    assert (list(turns.ready), turns.behind) == ([], 0)


def test_clear_gives_back_all_that_has_not_started() -> None:
    """The running one is not among them, and may end."""
    turns = Turns()
    a0, a1, b0 = deliveries("a", "a", "b")
    for delivery in (a0, a1, b0):
        turns.take(delivery, 10)
    turns.ready.popleft()
    assert turns.clear() == [b0, a1]
    turns.end(a0)
    assert (list(turns.ready), turns.behind) == ([], 0)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40), st.data())
def test_each_key_runs_in_order_one_at_a_time(keys: list[str | None], data: st.DataObject) -> None:
    """Whatever arrives, starts and ends when."""
    turns, arriving, running = Turns(), deliveries(*keys), list[Delivery]()
    started = defaultdict[str | None, list[Delivery]](list)
    waiting = list(arriving)
    while waiting or turns.ready or running:
        can = ["arrive"] * bool(waiting) + ["start"] * bool(turns.ready) + ["end"] * bool(running)
        match data.draw(st.sampled_from(can)):
            case "arrive":
                assert turns.take(waiting.pop(0), 100)
            case "start":
                delivery = turns.ready.popleft()
                key = delivery.message.key
                assert key is None or key not in [other.message.key for other in running]
                started[key].append(delivery)
                running.append(delivery)
            case "end":
                turns.end(running.pop(data.draw(st.integers(0, len(running) - 1))))
    for key, of_key in started.items():
        assert of_key == [delivery for delivery in arriving if delivery.message.key == key]
    assert turns.behind == 0
