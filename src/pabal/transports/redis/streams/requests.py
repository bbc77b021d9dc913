"""Requests of a channel whose messages are in a stream: they come by Pub/Sub, and nobody there is known at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pabal.model.transport import Delivery
from pabal.transports.redis.subscription import PubSubSubscription


class Asked:
    """What one reader is asked, read from Redis's own channels; a request is worth nothing once nobody waits for it."""

    def __init__(self, subscription: PubSubSubscription) -> None:
        self._subscription = subscription

    async def open(self, came: Callable[[], None]) -> None:
        """Begin to be asked; `came` is called when there is something to take."""
        self._subscription.tell(came)
        await self._subscription.register()

    def take(self, limit: int) -> Sequence[Delivery]:
        """Up to `limit` requests."""
        return self._subscription.take(limit)

    async def aclose(self) -> None:
        """Be asked no more."""
        await self._subscription.aclose()
