"""Requests whose bus is closed, and whose way back breaks."""

import asyncio
from typing import Any

import pytest

from pabal import (
    Bus,
    ConnectionFailed,
    RequestTimeout,
)
from tests.acceptance.seen import PATIENCE, Seen, until
from tests.acceptance.trouble import Trouble

SOON = 0.2
"""Seconds after which an answer that never comes is given up."""


async def test_closing_ends_requests(url: str) -> None:
    """A bus that is closed tells whoever still waits for an answer, at once."""
    answering, asking, seen = Bus(url, grace=0), Bus(url), Seen()

    @answering.handler("ask", group="g")
    async def handler(body: str) -> str:
        seen.add(body)
        await asyncio.Event().wait()
        return "never"

    async with answering.running():
        waiting = asyncio.create_task(asking.request("ask", "x", timeout=PATIENCE))
        await seen.wait(1)
        await asking.aclose()
        with pytest.raises(ConnectionFailed, match="closed before the answer came"):
            await waiting


async def test_giving_up_while_the_way_back_opens(trouble: Trouble) -> None:
    """A request that gives up while the way back is being opened leaves it to the next."""
    bus = Bus(trouble.url)
    go_on = asyncio.Event()

    async def slowly(_: Any) -> None:
        await go_on.wait()

    @bus.handler("ask", group="g")
    async def handler(body: str) -> str:
        return body

    trouble.before["replies"] = slowly
    async with bus.running():
        with pytest.raises(RequestTimeout):
            await bus.request("ask", "first", timeout=0.01)
        go_on.set()
        assert await bus.request("ask", "second") == "second"
    assert trouble.calls["replies"] == 1


async def test_way_back_that_fails_is_tried_again(trouble: Trouble) -> None:
    """When the way back cannot be opened the request fails, and the next one tries again."""
    bus = Bus(trouble.url)

    @bus.handler("ask", group="g")
    async def handler(body: str) -> str:
        return body

    trouble.fail("replies")
    async with bus.running():
        with pytest.raises(ConnectionFailed):
            await bus.request("ask", "first")
        trouble.heal()
        assert await bus.request("ask", "second") == "second"


async def test_answer_that_cannot_be_sent(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that the server does not take is logged; the handler is not called again."""
    bus, seen = Bus(trouble.url), Seen()

    @bus.handler("ask", group="g")
    async def handler(body: str) -> str:
        seen.add(body)
        return body

    async with bus.running() as crew:
        trouble.fail("reply")
        with pytest.raises(RequestTimeout):
            await bus.request("ask", "x", timeout=SOON)
        (counters,) = crew.counters.values()
        await until(lambda: counters.acked)
    assert seen == ["x"]
    assert "could not answer" in caplog.text
