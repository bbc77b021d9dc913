"""Saboteurs of time: delays and leases."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pabal.model.outcome import ACKED, Retried, Settlement
from pabal.model.transport import Delivery, GroupId, Post, Receipt, Settled
from pabal.testing.saboteurs.prefetching import PrefetchingSubscription
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport


class _Impatient(TamperedSubscription):
    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        return await super().settle([_at_once(each) for each in settled])


def _at_once(settled: Settled) -> Settled:
    if not isinstance(settled.outcome, Retried):
        return settled
    return Settled(settled.delivery, replace(settled.outcome, after=0.0))


@saboteur("retry_waits_for_its_delay", "retry_outlives_its_reader", "retry_holds_up_its_key_alone")
class ForgetsTheDelayOfRetries(TamperedTransport):
    """Retries at once, whatever the delay."""

    reading = _Impatient


class _Unwilling(TamperedSubscription):
    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        waits = {id(s) for s in settled if isinstance(s.outcome, Retried) and s.outcome.after}
        return await super().settle([Settled(s.delivery, ACKED) if id(s) in waits else s for s in settled])


@saboteur("retry_waits_for_its_delay", "retry_outlives_its_reader", "undelayed_retry_is_not_lost")
class LosesDelayedRetries(TamperedTransport):
    """Forgets a message that was to be retried after a delay."""

    reading = _Unwilling


@saboteur("delayed_publish_waits", "delayed_copy_waits", "delays_come_in_their_own_time")
class DeliversTheDelayedEarly(TamperedTransport):
    """Delivers a delayed message when half of its delay is over."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Due too early."""
        now = self.clock.time()
        return await super().publish(
            [post if post.due is None else replace(post, due=(now + post.due) / 2) for post in posts]
        )


@saboteur("delays_come_in_their_own_time")
class DelaysTheOverdue(TamperedTransport):
    """Holds back a message whose time is past already."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Due by the length of the delay, whatever its direction."""
        now = self.clock.time()
        return await super().publish(
            [post if post.due is None else replace(post, due=now + abs(post.due - now)) for post in posts]
        )


class _Postponing(TamperedSubscription):
    async def aclose(self) -> None:
        await super().aclose()
        self.transport.shared["alone"] = True

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        while True:
            got = await super().receive(limit)
            delayed = self.transport.shared.get("delayed", set())
            if not self.transport.shared.get("alone"):
                return got
            lost = [delivery for delivery in got if delivery.message.id in delayed]
            await self.inner.settle([Settled(delivery, ACKED) for delivery in lost])
            if kept := [delivery for delivery in got if delivery not in lost]:
                return kept


@saboteur("delayed_publish_outlives_its_readers")
class DelaysDieWithReaders(TamperedTransport):
    """Forgets delayed messages when a reader closes."""

    reading = _Postponing

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """What is delayed is remembered."""
        self.shared.setdefault("delayed", set()).update(post.message.id for post in posts if post.due is not None)
        return await super().publish(posts)


class _Thirty(TamperedSubscription):
    @property
    def lease(self) -> float | None:
        return 30.0


@saboteur("lease_is_as_asked")
class HasItsOwnLease(TamperedTransport):
    """Says that its lease is 30 s, whatever it was asked for."""

    reading = _Thirty


class _NeverExtending(TamperedSubscription):
    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:  # noqa: ARG002 - not heeded
        return []


@saboteur("extended_lease_holds", "late_extension_is_lost")
class ExtendsNothing(TamperedTransport):
    """Says that it extended what it did not."""

    reading = _NeverExtending


class _Unwatched(PrefetchingSubscription):
    def watch(self) -> None:
        """Nobody extends what waits."""


@saboteur("buffered_deliveries_do_not_expire")
class LetsTheBufferExpire(TamperedTransport):
    """Lets expire what a reader holds ready."""

    reading = _Unwatched


class _Disturbing(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        got = await super().receive(limit)
        self.transport.shared.update({f"owner {d.message.id}": (self.inner, d) for d in got})
        return got

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        settlements = await super().settle(settled)
        for each, settlement in zip(settled, settlements, strict=True):
            owner = self.transport.shared.get(f"owner {each.delivery.message.id}")
            if settlement is Settlement.LOST and owner is not None:
                await owner[0].settle([Settled(owner[1], each.outcome)])
        return settlements


@saboteur("late_settlement_is_lost")
class LateSettlementsDisturb(TamperedTransport):
    """Ends the new owner's delivery by a late settlement, although it says LOST."""

    reading = _Disturbing


class _Greedy(TamperedSubscription):
    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        lost = await super().extend(deliveries)
        for delivery in lost:
            id = GroupId(self.source.channel, self.source.group or "")
            await self.transport.inner.publish([Post(delivery.message, group=id, attempt=delivery.attempt)])
        return lost


@saboteur("late_extension_is_lost")
class LateExtensionsCopy(TamperedTransport):
    """Makes a copy of a message whose lease is extended too late."""

    reading = _Greedy
