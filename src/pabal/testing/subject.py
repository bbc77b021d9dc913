"""What the conformance kit tests: a transport, as its author makes it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities
from pabal.model.clock import Clock, SystemClock, VirtualClock
from pabal.model.transport import Transport, TransportFactory
from pabal.runtime.registry import make_transport


class Subject(Protocol):
    """A transport and its server, as one promise sees them. Each promise gets one of its own.

    Attributes:
        name: how reports call it.
        clock: the clock by which its transports go.
        patience: seconds of real time after which something that was to happen counts as never happening.
    """

    name: str
    clock: Clock
    patience: float

    async def connect(
        self, *, lease: float | None = None, max_body: int | None = None, overflow: int | None = None
    ) -> Transport:
        """A new transport on the same server or store each time, not opened, as another process would have it.

        `lease` (seconds), `max_body` (bytes) and `overflow` (messages that may wait for a listener) are asked for by
        the promises about them, `overflow` of transports that park only. Where a server has a limit of its own that no
        client can change, that one may stand in for `max_body`.
        """
        ...

    async def restart(self) -> None:
        """Everything down and up again: every transport closed, the server restarted. Asked of durable ones only."""

    async def pass_time(self, seconds: float) -> None:
        """Return once `seconds` have passed by `clock`."""


class UrlSubject:
    """A transport by its URL, which names a store that nobody else uses.

    With ``virtual=True`` its time stands still and is turned by the promises, which is right for whatever takes
    its time from `Clock` alone; a server with a clock of its own needs ``virtual=False``, and real seconds. `factory`
    makes the transport where its scheme has no entry point yet. `patience` is in seconds of real time.
    """

    def __init__(
        self, url: str, *, virtual: bool, factory: TransportFactory | None = None, patience: float = 10.0
    ) -> None:
        self.url = url
        self.name = url.partition("://")[0]
        self.patience = patience
        self.clock: Clock = VirtualClock() if virtual else SystemClock()
        self._factory = factory
        self._connected: list[Transport] = []

    async def connect(
        self, *, lease: float | None = None, max_body: int | None = None, overflow: int | None = None
    ) -> Transport:
        """A new transport of the URL, with what is asked for as its options."""
        asked = {"lease": lease, "max_body": max_body, "overflow": overflow}
        options = [f"{name}={value}" for name, value in asked.items() if value is not None]
        separator = "&" if "?" in self.url else "?"
        url = self.url + (separator + "&".join(options) if options else "")
        if self._factory is not None:
            transport = self._factory(Address(url), clock=self.clock)
        else:
            transport = make_transport(url, clock=self.clock)
        self._connected.append(transport)
        return transport

    async def restart(self) -> None:
        """Close every transport: what a file keeps is then all there is. Override it to restart a server."""
        connected, self._connected = self._connected, []
        for transport in connected:
            await transport.aclose()

    async def pass_time(self, seconds: float) -> None:
        """Turn the virtual clock, or wait."""
        if not isinstance(self.clock, VirtualClock):
            await self.clock.sleep(seconds)
            return
        self.clock.advance(seconds)
        await asyncio.sleep(0)


async def declared(subject: Subject) -> Capabilities:
    """What the subject's transport declares when it is opened."""
    transport = await subject.connect()
    try:
        return await transport.open()
    finally:
        await transport.aclose()
