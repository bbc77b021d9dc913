"""An honest transport whose channels are one line each: to see that the kit can hold one to the order of a channel."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pabal.model.capabilities import Capabilities, Order
from pabal.model.transport import Delivery, Post, Receipt
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport


class _OneLineSubscription(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        keys = self.transport.shared["keys"]
        return [
            replace(delivery, message=replace(delivery.message, key=keys[delivery.message.id]))
            for delivery in await super().receive(limit)
        ]


class OneLine(TamperedTransport):
    """A transport that keeps all messages of a channel in order, whatever their keys."""

    reading = _OneLineSubscription

    async def open(self) -> Capabilities:
        """What it keeps instead of the order of each key."""
        return replace(await super().open(), order=Order.CHANNEL)

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """All under one key; each gets its own back when it is received."""
        self.shared.setdefault("keys", {}).update((post.message.id, post.message.key) for post in posts)
        return await super().publish([replace(post, message=replace(post.message, key="line")) for post in posts])
