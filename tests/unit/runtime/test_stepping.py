import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context

import pytest

from pabal.runtime.stepping import at_once, bounded, is_clean, isolated

seen: ContextVar[str] = ContextVar("seen", default="nothing")


async def test_variables_do_not_leak() -> None:
    """What a coroutine sets is not seen after it, across awaits too, and it sees what was set before."""
    seen.set("before")

    async def handler() -> tuple[str, str]:
        first = seen.get()
        seen.set("mine")
        await asyncio.sleep(0)
        return first, seen.get()

    assert await isolated(handler()) == ("before", "mine")
    assert seen.get() == "before"


async def test_variables_do_not_leak_from_an_exception() -> None:
    """Nor after an exception, which comes out as it is."""

    async def handler() -> None:
        await asyncio.sleep(0)
        seen.set("mine")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await isolated(handler())
    assert seen.get() == "nothing"


async def test_cancelling_reaches_the_coroutine() -> None:
    """A cancelled task's coroutine runs its finally, in its own context."""
    ended: list[str] = []
    waiting = asyncio.Event()

    async def handler() -> None:
        seen.set("mine")
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(seen.get())

    task = asyncio.create_task(isolated(handler()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["mine"]


async def test_timeout_and_task_group_work_inside() -> None:
    """`asyncio.timeout` and `TaskGroup` work in an isolated coroutine."""

    async def handler() -> list[int]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, n)) for n in range(3)]
        return [task.result() for task in tasks]

    assert await isolated(handler()) == [0, 1, 2]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


def test_closing_closes_the_coroutine() -> None:
    """A loop that ends leaves no coroutine half run."""
    ended = []

    async def handler() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(True)

    async def main() -> None:
        stepped = isolated(handler())
        stepped.send(None)
        stepped.close()

    asyncio.run(main())
    assert ended == [True]


class Contrary:
    """A value that is not compared."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("compare me with nothing")

    __hash__ = None  # type: ignore[assignment]


held: ContextVar[object] = ContextVar("held")


@pytest.mark.parametrize("kept", [None, [], Contrary()], ids=["nothing", "a list", "what is not compared"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: None, True),
        (lambda: seen.reset(seen.set("mine")), True),
        (lambda: seen.set("mine"), False),
        (lambda: held.set([]), False),
        (lambda: held.set(Contrary()), False),
    ],
    ids=["untouched", "set and reset", "set", "set to an equal one", "set to what is not compared"],
)
def test_a_context_is_clean_while_its_variables_have_the_same_values(
    kept: object, change: Callable[[], object], *, expected: bool
) -> None:
    """A value that is only equal to the one before is another one: it may be changed later."""

    def check() -> bool:
        if kept is not None:
            held.set(kept)
        before = copy_context()
        change()
        return is_clean(before)

    assert expected == copy_context().run(check)


async def test_at_once_gives_what_is_there() -> None:
    """What is ready is returned, and an error raised, without a turn of the loop."""

    async def ready(error: Exception | None) -> int:
        if error is not None:
            raise error
        return 7

    turns: list[None] = []
    asyncio.get_running_loop().call_soon(turns.append, None)
    assert await at_once(ready(None), 0) == 7
    with pytest.raises(KeyError):
        await at_once(ready(KeyError()), 0)
    assert turns == []


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_at_once_cancels_what_would_wait(waits: int) -> None:
    """It ends as if its task had been cancelled, whatever it waits for then, and the task goes on."""
    ended: list[str] = []

    async def never() -> int:
        try:
            await asyncio.Event().wait()
            return 7
        finally:
            for _ in range(waits):
                await asyncio.sleep(0)
            ended.append("cleanly")

    assert await at_once(never(), 0) == 0
    assert ended == ["cleanly"]
    await asyncio.sleep(0)


async def test_at_once_is_cancelled_while_it_ends_another() -> None:
    """A cancellation from outside is not taken for the one within."""
    waiting = asyncio.Event()

    async def never() -> int:
        try:
            await asyncio.Event().wait()
            return 7
        finally:
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(at_once(never(), 0))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_bounded_makes_no_timer_for_what_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that need not wait costs no timer."""
    loop = asyncio.get_running_loop()
    made: list[object] = []
    monkeypatch.setattr(loop, "call_at", lambda *args, **_: made.append(args))

    async def ready() -> int:
        return 7

    assert await bounded(ready(), 10.0) == 7
    assert made == []


async def test_bounded_raises_timeout() -> None:
    """What takes longer is cancelled and TimeoutError raised."""
    ended: list[bool] = []

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await bounded(never(), 0.001)
    assert ended == [True]


async def test_bounded_passes_results_and_errors() -> None:
    """Results and errors come through after waiting, too."""

    async def later(error: Exception | None) -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        if error is not None:
            raise error
        return 7

    assert await bounded(later(None), 10.0) == 7
    with pytest.raises(KeyError):
        await bounded(later(KeyError()), 10.0)
