"""Saboteurs of closing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pabal.model.errors import ConnectionFailed
from pabal.model.outcome import ACKED
from pabal.model.transport import Delivery, GroupId, Post, Settled, Source, Subscription
from pabal.testing.saboteurs.ending import Holding
from pabal.testing.saboteurs.prefetching import PrefetchingSubscription
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport


class _LosingBuffer(PrefetchingSubscription):
    async def aclose(self) -> None:
        await self.inner.settle([Settled(delivery, ACKED) for delivery in self.buffer])
        await super().aclose()


@saboteur("closing_returns_the_unsettled", "closing_the_transport_returns_the_unsettled", "reopening_loses_nothing")
class LosesTheBufferOnClose(TamperedTransport):
    """Loses what a closed reader held ready."""

    reading = _LosingBuffer


class _ReturningTwice(Holding):
    def __init__(self, inner: Subscription, transport: TamperedTransport, source: Source) -> None:
        super().__init__(inner, transport, source)
        self._closings = 0

    async def aclose(self) -> None:
        self._closings += 1
        if self._closings == 2 and self.source.group is not None and self.held:
            group = GroupId(self.source.channel, self.source.group)
            await self.transport.inner.publish([Post(delivery.message, group=group) for delivery in self.held])
        await super().aclose()


@saboteur("closing_at_once_is_closing_once")
class ReturnsAtEachClosing(TamperedTransport):
    """Gives back what was in hand once more when closed a second time."""

    reading = _ReturningTwice


class _ReturningLast(Holding):
    async def aclose(self) -> None:
        held, self.held = self.held, []
        await self.inner.settle([Settled(delivery, ACKED) for delivery in held])
        if held and self.source.group is not None:
            group = GroupId(self.source.channel, self.source.group)
            await self.transport.inner.publish([Post(delivery.message, group=group) for delivery in held])
        await super().aclose()


@saboteur("order_outlives_closing")
class ReturnsToTheEnd(TamperedTransport):
    """Puts what a closed reader gives back behind what follows of its key."""

    reading = _ReturningLast


class _Hanging(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        try:
            return await super().receive(limit)
        except ConnectionFailed:
            await asyncio.Event().wait()
            raise


@saboteur("closing_ends_a_waiting_receive")
class LeavesReceiveHanging(TamperedTransport):
    """Leaves a receive waiting for ever when its subscription closes."""

    reading = _Hanging


@saboteur("unopened_transport_closes", "closed_transport_refuses_everything")
class ClosesOnce(TamperedTransport):
    """Raises when it is closed a second time."""

    async def aclose(self) -> None:
        """Once only."""
        if self.shared.get(f"closed {id(self)}"):
            raise ConnectionFailed("closed already")
        self.shared[f"closed {id(self)}"] = True
        await super().aclose()
