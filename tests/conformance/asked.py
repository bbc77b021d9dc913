"""Which promises a transport is asked to keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from _pytest.mark import ParameterSet

from pabal.model.capabilities import Capabilities
from pabal.testing import Subject, promises


async def declared(subject: Subject) -> Capabilities:
    """What the subject's transport declares."""
    transport = await subject.connect()
    try:
        return await transport.open()
    finally:
        await transport.aclose()


def asked(subject: Callable[[], Subject]) -> list[ParameterSet]:
    """The promises that what the subject declares makes, by name; for `pytest.mark.parametrize`."""
    return [pytest.param(each, id=each.name) for each in promises(asyncio.run(declared(subject())))]
