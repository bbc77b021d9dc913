"""Saboteurs of delivery: lost, doubled, mixed up, late to register."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from pabal.model.errors import ConnectionFailed, MessageTooLarge
from pabal.model.outcome import ACKED
from pabal.model.transport import Delivery, Post, Receipt, Settled, Source, Subscription
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport


@saboteur("members_divide_without_loss", "parallel_publishes_arrive")
class DropsEvery50th(TamperedTransport):
    """Drops every 50th message in silence."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """One receipt too good to be true."""
        kept = [post for post in posts if self.count("published") % 50]
        receipts = {receipt.id: receipt for receipt in await super().publish(kept)} if kept else {}
        return [receipts.get(post.message.id, Receipt(post.message.id, routed=True, receivers=1)) for post in posts]


@saboteur("members_divide_without_loss", "parallel_publishes_arrive", "message_reaches_group_intact")
class DoublesEvery50th(TamperedTransport):
    """Delivers every 50th message twice."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Published once more in silence."""
        for post in posts:
            if self.count("published") % 50 == 0:
                await super().publish([post])
        return await super().publish(posts)


@saboteur("channels_stay_apart")
class CrossesChannels(TamperedTransport):
    """Puts every 50th message on the channel of the one before it."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Some to the wrong address."""
        crossed = list(posts)
        for number in range(1, len(posts)):
            if self.count("published") % 50 == 0:
                channel = posts[number - 1].message.channel
                crossed[number] = replace(posts[number], message=replace(posts[number].message, channel=channel))
        return await super().publish(crossed)


class _Altering(TamperedSubscription):
    def alter(self, deliveries: list[Delivery]) -> list[Delivery]:
        raise NotImplementedError

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        return self.alter(list(await super().receive(limit)))


class _WithoutHeaders(_Altering):
    def alter(self, deliveries: list[Delivery]) -> list[Delivery]:
        return [replace(each, message=replace(each.message, headers={})) for each in deliveries]


@saboteur("message_reaches_group_intact", "message_reaches_listener_intact", "returned_message_is_intact")
class LosesHeaders(TamperedTransport):
    """Loses the user's headers."""

    reading = _WithoutHeaders


class _SwappedBodies(_Altering):
    def alter(self, deliveries: list[Delivery]) -> list[Delivery]:
        bodies = [each.message.body for each in deliveries]
        turned = [*bodies[1:], bodies[0]]
        return [replace(d, message=replace(d.message, body=b)) for d, b in zip(deliveries, turned, strict=True)]


@saboteur("message_reaches_group_intact", "message_reaches_listener_intact")
class SwapsBodies(TamperedTransport):
    """Swaps the bodies of messages that are received together."""

    reading = _SwappedBodies


class _RoundedTimes(_Altering):
    def alter(self, deliveries: list[Delivery]) -> list[Delivery]:
        return [replace(d, message=replace(d.message, time=d.message.time.replace(microsecond=0))) for d in deliveries]


@saboteur("message_reaches_group_intact", "message_reaches_listener_intact")
class RoundsTimes(TamperedTransport):
    """Rounds times to whole seconds."""

    reading = _RoundedTimes


class _SpoiledOnReturn(_Altering):
    def alter(self, deliveries: list[Delivery]) -> list[Delivery]:
        seen = self.transport.shared.setdefault("seen", set())
        altered = [replace(d, message=replace(d.message, key=None)) if d.message.id in seen else d for d in deliveries]
        seen.update(delivery.message.id for delivery in deliveries)
        return altered


@saboteur("returned_message_is_intact")
class SpoilsWhatReturns(TamperedTransport):
    """Loses the key of a message that is delivered a second time."""

    reading = _SpoiledOnReturn


class _LateSubscription(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        if isinstance(self.inner, _Nobody):
            self.inner = await self.transport.inner.subscribe(self.source)
        return await super().receive(limit)


class _Nobody:
    """A subscription that is not there yet."""

    lease = None

    def resize(self, window: int, /) -> None:
        """Nothing to resize."""

    async def aclose(self) -> None:
        """Nothing to close."""


@saboteur("subscribed_means_registered", "listening_means_registered")
class RegistersLate(TamperedTransport):
    """Registers a subscription only when it is first read."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """Nothing at the server yet."""
        subscription = _LateSubscription(_Nobody(), self, source)  # type: ignore[arg-type]  # it is never called
        self.subscriptions.append(subscription)
        return subscription


class _LosingCancelled(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        got = await super().receive(limit)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await self.inner.settle([Settled(delivery, ACKED) for delivery in got])
            raise
        return got


@saboteur("cancelled_receive_loses_nothing")
class LosesWhatIsCancelled(TamperedTransport):
    """Loses what a cancelled receive had already taken."""

    reading = _LosingCancelled


class _BeyondLimit(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        return await super().receive(limit + 1)


@saboteur("receive_keeps_its_limit")
class ReturnsTooMany(TamperedTransport):
    """Returns more deliveries than were asked for."""

    reading = _BeyondLimit


@saboteur("body_limit_is_exact")
class TakesTooLarge(TamperedTransport):
    """Says that it took a body beyond its limit."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """No error for what is too large."""
        receipts = await super().publish(posts)
        return [Receipt(each.id) if isinstance(each.error, MessageTooLarge) else each for each in receipts]


@saboteur("large_body_arrives")
class CutsLargeBodies(TamperedTransport):
    """Cuts bodies at 64 KiB."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Only so much of each body."""
        cut = [replace(post, message=replace(post.message, body=post.message.body[:65536])) for post in posts]
        return await super().publish(cut)


@saboteur("closed_transport_refuses_everything")
class AcceptsWhenClosed(TamperedTransport):
    """Says that it took a message after it was closed."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Never a ConnectionFailed."""
        try:
            return await super().publish(posts)
        except ConnectionFailed:
            return [Receipt(post.message.id) for post in posts]


@saboteur("unopened_transport_refuses")
class AcceptsBeforeOpening(AcceptsWhenClosed):
    """Says that it took a message before it was open."""
