"""Saboteurs of settling: what becomes of a delivery."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pabal.model.outcome import ACKED, RELEASED, Acked, Outcome, Rejected, Released, Retried, Settlement
from pabal.model.transport import Delivery, Post, Settled, Source, Subscription
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport


class _Changing(TamperedSubscription):
    def change(self, outcome: Outcome) -> Outcome:
        raise NotImplementedError

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        return await super().settle([Settled(each.delivery, self.change(each.outcome)) for each in settled])


class _Short(TamperedSubscription):
    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        settlements = await super().settle(settled)
        return settlements[:1]


@saboteur("settling_answers_each_in_order")
class AnswersABatchOnce(TamperedTransport):
    """Returns one settlement for a whole batch."""

    reading = _Short


class _Uniform(TamperedSubscription):
    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        return await super().settle([Settled(each.delivery, settled[0].outcome) for each in settled])


@saboteur("settling_answers_each_in_order")
class SettlesABatchAlike(TamperedTransport):
    """Ends every delivery of a batch as its first."""

    reading = _Uniform


class _Forgetful(TamperedSubscription):
    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        settlements = iter(await super().settle([s for s in settled if not isinstance(s.outcome, Acked)]))
        return [Settlement.DONE if isinstance(s.outcome, Acked) else next(settlements) for s in settled]


@saboteur("acked_is_done", "acked_prefix_is_done", "reopening_loses_nothing", "closing_returns_the_unsettled")
class ForgetsAcks(TamperedTransport):
    """Says DONE to an ack and delivers the message again later."""

    reading = _Forgetful


class _Agreeable(TamperedSubscription):
    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        await super().settle(settled)
        return [Settlement.DONE for _ in settled]


@saboteur("settled_twice_is_lost", "late_settlement_is_lost", "settling_after_closing_is_lost")
class AlwaysSaysDone(TamperedTransport):
    """Says DONE to whatever is settled, whosever it is."""

    reading = _Agreeable


class _RetryingForAll(TamperedSubscription):
    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        settlements = await super().settle(
            [replace(each, outcome=ACKED) if isinstance(each.outcome, Retried) else each for each in settled]
        )
        retried = [Post(each.delivery.message) for each in settled if isinstance(each.outcome, Retried)]
        await self.transport.inner.publish(retried)
        return settlements


@saboteur("retried_comes_again", "attempts_are_counted", "failures_are_kept")
class RetriesForEveryGroup(TamperedTransport):
    """Retries a message by publishing it again, to every group."""

    reading = _RetryingForAll


class _Uncounted(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        return [replace(delivery, attempt=1) for delivery in await super().receive(limit)]


@saboteur("attempts_are_counted", "expired_lease_returns_the_message")
class CountsNoAttempts(TamperedTransport):
    """Says attempt 1 for every delivery."""

    reading = _Uncounted


class _CountingReleases(_Changing):
    def change(self, outcome: Outcome) -> Outcome:
        return Retried(0.0) if isinstance(outcome, Released) else outcome


@saboteur("released_comes_back_uncounted")
class CountsReleases(TamperedTransport):
    """Counts what was given back as an attempt."""

    reading = _CountingReleases


class _LastFailure(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        return [replace(delivery, errors=delivery.errors[-1:]) for delivery in await super().receive(limit)]


@saboteur("failures_are_kept")
class KeepsTheLastFailure(TamperedTransport):
    """Keeps no failure but the last."""

    reading = _LastFailure


class _Acking(_Changing):
    def change(self, outcome: Outcome) -> Outcome:
        return ACKED if isinstance(outcome, Rejected) else outcome


@saboteur("rejected_is_parked_with_its_history", "redrive_reaches_the_group_that_failed")
class DropsTheRejected(TamperedTransport):
    """Forgets a rejected message instead of parking it."""

    reading = _Acking


class _Insisting(_Changing):
    def change(self, outcome: Outcome) -> Outcome:
        return Retried(0.0, outcome.failure) if isinstance(outcome, Rejected) else outcome


@saboteur("rejected_ends")
class RetriesTheRejected(TamperedTransport):
    """Delivers a rejected message again."""

    reading = _Insisting


class _Cumulative(TamperedSubscription):
    def __init__(self, inner: Subscription, transport: TamperedTransport, source: Source) -> None:
        super().__init__(inner, transport, source)
        self._received: list[Delivery] = []

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        got = await super().receive(limit)
        self._received += got
        return got

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        settlements = await super().settle(settled)
        acked = [each.delivery for each in settled if isinstance(each.outcome, Acked)]
        if acked and acked[-1] in self._received:
            before = self._received[: self._received.index(acked[-1])]
            await super().settle([Settled(delivery, ACKED) for delivery in before])
        return settlements


@saboteur("partial_settling_is_each_or_cumulative")
class AcksAllBefore(TamperedTransport):
    """Ends with a delivery all that were received before it."""

    reading = _Cumulative


class _AckingAtOnce(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        got = await super().receive(limit)
        await self.inner.settle([Settled(delivery, ACKED) for delivery in got])
        return got

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        return [Settlement.DONE for _ in settled]

    async def extend(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:  # noqa: ARG002 - not heeded
        return []


@saboteur(
    "expired_lease_returns_the_message",
    "closing_returns_the_unsettled",
    "closing_the_transport_returns_the_unsettled",
    "retried_comes_again",
    "released_comes_back_uncounted",
)
class AcksOnReceive(TamperedTransport):
    """Forgets a message as soon as it is handed out."""

    reading = _AckingAtOnce


class Holding(TamperedSubscription):
    """Knows what was received and not yet settled."""

    def __init__(self, inner: Subscription, transport: TamperedTransport, source: Source) -> None:
        super().__init__(inner, transport, source)
        self.held: list[Delivery] = []

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Held from now on."""
        got = await super().receive(limit)
        self.held += got
        return got

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        """No longer held."""
        ended = {id(each.delivery) for each in settled}
        self.held = [delivery for delivery in self.held if id(delivery) not in ended]
        return await super().settle(settled)


class _EndingOnClose(Holding):
    outcome: Outcome = RELEASED

    async def aclose(self) -> None:
        await super().settle([Settled(delivery, self.outcome) for delivery in self.held])
        await super().aclose()


class _CountingOnClose(_EndingOnClose):
    outcome = Retried(0.0)


@saboteur("closing_returns_the_unsettled", "closing_the_transport_returns_the_unsettled")
class CountsWhatClosingReturns(TamperedTransport):
    """Counts what a closed reader had in hand as an attempt."""

    reading = _CountingOnClose


class _LosingOnClose(_EndingOnClose):
    outcome = ACKED


@saboteur("closing_returns_the_unsettled", "closing_the_transport_returns_the_unsettled", "reopening_loses_nothing")
class LosesWhatIsInHandOnClose(TamperedTransport):
    """Loses what a closed reader had in hand."""

    reading = _LosingOnClose
