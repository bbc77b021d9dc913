"""How a saboteur gets at a transport: it stands before it and passes everything on, but for what it spoils."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pabal.model.capabilities import Capabilities
from pabal.model.clock import Clock
from pabal.model.outcome import Settlement
from pabal.model.transport import Delivery, Post, Receipt, Settled, Source, Subscription, Transport


class TamperedSubscription:
    """A subscription that passes everything on."""

    def __init__(self, inner: Subscription, transport: TamperedTransport, source: Source) -> None:
        self.inner = inner
        self.transport = transport
        self.source = source

    @property
    def lease(self) -> float | None:
        """As the subscription behind it."""
        return self.inner.lease

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """As the subscription behind it."""
        return await self.inner.receive(limit)

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """As the subscription behind it."""
        return await self.inner.settle(settled)

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        """As the subscription behind it."""
        return await self.inner.extend(deliveries)

    def resize(self, window: int, /) -> None:
        """As the subscription behind it."""
        self.inner.resize(window)

    async def aclose(self) -> None:
        """As the subscription behind it."""
        await self.inner.aclose()


class TamperedTransport:
    """A transport that passes everything on; `reading` is what stands before each of its subscriptions.

    `inner` is the transport behind it, without its type: what Protocols it has, its capabilities say. `shared` is
    what the saboteur's transports on one store know together.
    """

    reading: type[TamperedSubscription] = TamperedSubscription

    def __init__(self, inner: Transport, clock: Clock, shared: dict[str, Any]) -> None:
        self.inner: Any = inner
        self.clock = clock
        self.shared = shared
        self.subscriptions: list[TamperedSubscription] = []

    @property
    def best(self) -> Capabilities:
        """As the transport behind it."""
        best: Capabilities = self.inner.best
        return best

    async def open(self) -> Capabilities:
        """As the transport behind it."""
        capabilities: Capabilities = await self.inner.open()
        return capabilities

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """As the transport behind it."""
        receipts: Sequence[Receipt] = await self.inner.publish(posts)
        return receipts

    async def subscribe(self, source: Source, /) -> Subscription:
        """As the transport behind it."""
        subscription = self.reading(await self.inner.subscribe(source), self, source)
        self.subscriptions.append(subscription)
        return subscription

    async def aclose(self) -> None:
        """As the transport behind it, after each of its subscriptions was closed."""
        for subscription in self.subscriptions:
            await subscription.aclose()
        await self.inner.aclose()

    def __getattr__(self, name: str) -> Any:
        """What further Protocols the transport behind it has."""
        return getattr(self.inner, name)

    def count(self, what: str) -> int:
        """How often this was called for `what`, by all transports on the store, from 1."""
        self.shared[what] = self.shared.get(what, 0) + 1
        return int(self.shared[what])
