"""Which promises a transport is asked to keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pabal.model.capabilities import Capabilities
from pabal.testing import Promise, Subject, promises


def declared(subject: Callable[[], Subject]) -> Capabilities:
    """What the subject's transport declares."""

    async def open_and_close() -> Capabilities:
        transport = await subject().connect()
        try:
            return await transport.open()
        finally:
            await transport.aclose()

    return asyncio.run(open_and_close())


def asked(subject: Callable[[], Subject]) -> list[object]:
    """The promises that what the subject declares makes, by name; for `pytest.mark.parametrize`."""
    kept: list[Promise] = promises(declared(subject))
    return [pytest.param(promise, id=promise.name) for promise in kept]
