"""Handlers that are cancelled, cancel themselves or interrupt the program."""

import asyncio
import contextlib

import pytest

from pabal import Backoff, Bus
from tests.acceptance.seen import Seen, letters, until

AT_ONCE = Backoff(attempts=3, first=0)


async def test_timeout(url: str) -> None:
    """A call that takes longer than timeout= is cancelled and has failed; the text says so, and where it was."""
    bus, seen = Bus(url, retry=AT_ONCE), Seen()

    @bus.handler("a", group="g", timeout=0.01)
    async def handler(body: str) -> None:
        try:
            await stuck()
        finally:
            seen.add("cancelled")

    async def stuck() -> None:
        await asyncio.Event().wait()

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert seen == ["cancelled"] * 3
    assert letter.reason == "exhausted"
    for failure in letter.attempts:
        assert failure.error == "TimeoutError: not done within 0.01 s"
        assert "in stuck" in failure.traceback
        assert "pabal/runtime" not in failure.traceback


async def test_handler_s_own_timeout_error(url: str) -> None:
    """A TimeoutError of the handler's own is told as it is."""
    bus = Bus(url, retry=Backoff(attempts=1))

    @bus.handler("a", group="g", timeout=10.0)
    async def handler(body: str) -> None:
        raise TimeoutError("the bank is slow")

    async with bus.running():
        await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert letter.attempts[0].error == "TimeoutError: the bank is slow"


async def test_cancelled_error_is_a_failure(url: str) -> None:
    """A handler that raises CancelledError by itself has failed; its lane lives on."""
    bus, seen = Bus(url, retry=AT_ONCE), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        if body == "bad":
            raise asyncio.CancelledError
        seen.add(body)

    async with bus.running():
        await bus.publish_many("a", ["bad", "good"])
        (letter,) = await letters(bus)
        assert await seen.wait(1) == ["good"]
    assert [failure.error for failure in letter.attempts] == ["CancelledError"] * 3


@pytest.mark.parametrize("swallows", [False, True])
async def test_handler_that_cancels_its_own_task(url: str, *, swallows: bool) -> None:
    """A handler that cancels the task it runs in costs no lane: the next message is handled."""
    bus, seen = Bus(url, retry=AT_ONCE), Seen()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        if body == "good":
            seen.add(body)
            return
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(*[asyncio.CancelledError] if swallows else []):
            await asyncio.sleep(0)

    async with bus.running() as crew:
        await bus.publish_many("a", ["bad", "good"])
        assert await seen.wait(1) == ["good"]
        if not swallows:
            await letters(bus)
    (counters,) = crew.report.handlers.values()
    assert (counters.acked, counters.rejected) == ((2, 0) if swallows else (1, 1))


def test_keyboard_interrupt_is_not_swallowed() -> None:
    """KeyboardInterrupt in a handler ends the program at once; its message and the others wait for the next."""
    got: list[str] = []

    async def main() -> None:
        bus = Bus("memory://keyboard-interrupt")

        @bus.handler("a", group="g")
        async def handler(body: str) -> None:
            if not got:
                got.append("interrupted")
                raise KeyboardInterrupt
            got.append(body)

        async with bus.running():
            await bus.publish_many("a", ["first", "second"])
            await until(lambda: len(got) == 3)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())

    async def again() -> None:
        bus = Bus("memory://keyboard-interrupt")

        @bus.handler("a", group="g")
        async def handler(body: str) -> None:
            got.append(body)

        async with bus.running():
            await until(lambda: len(got) == 3)

    asyncio.run(again())
    assert got == ["interrupted", "first", "second"]
