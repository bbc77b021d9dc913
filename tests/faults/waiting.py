"""Waiting for the thing itself, with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK = 0.01


async def until(is_so: Callable[[], bool], what: str, patience: float) -> None:
    """Return once it is so; raises AssertionError after so many seconds, which names `what`."""
    try:
        async with asyncio.timeout(patience):
            while not is_so():  # noqa: ASYNC110 - it comes about in other processes
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise AssertionError(f"waited {patience:g} s for this: {what}") from None
