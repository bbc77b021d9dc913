"""A transport itself, for the commands that look after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities
from pabal.model.clock import SystemClock
from pabal.model.errors import CapabilityError
from pabal.model.transport import Administers, Transport
from pabal.runtime.registry import make_transport


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Transport, Capabilities]]:
    """The transport of `url` and what it can do, closed at the end.

    Raises ConfigurationError and ConnectionFailed.
    """
    transport = make_transport(url, clock=SystemClock())
    try:
        yield transport, await transport.open()
    finally:
        await transport.aclose()


@asynccontextmanager
async def administered(url: str) -> AsyncIterator[Administers]:
    """The transport of `url`, which lists and removes groups; raises CapabilityError when it does neither."""
    async with opened(url) as (transport, can):
        if not can.administers:
            raise CapabilityError(f"{Address(url)} cannot list or remove groups")
        yield cast("Administers", transport)
