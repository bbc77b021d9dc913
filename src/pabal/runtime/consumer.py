"""Pulling: deliveries asked for, and settled one by one by their taker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from pabal.model.clock import Clock, utc
from pabal.model.codec import Decode
from pabal.model.errors import ConfigurationError, PabalError
from pabal.model.message import Message
from pabal.model.outcome import ACKED, RELEASED, Outcome, Reject, Rejected, Retry, Settlement
from pabal.model.transport import Delivery, Settled, Source, Subscription
from pabal.runtime import decide
from pabal.runtime.box import Parking, letter
from pabal.runtime.leases import keep_leases
from pabal.runtime.retry import Backoff

log = logging.getLogger("pabal.consumer")

T = TypeVar("T")

OnPull: TypeAlias = Callable[[Source, Sequence[Message], float], None]
"""Is told what a pull has taken, and how many seconds that took."""

_AT_ONCE = 0.05
"""Seconds in which a server can hand over what is ready; a pull that does not want to wait waits as long."""


class Pulled(Generic[T]):
    """A delivery in the hands of whoever pulled it.

    It stays ours, its lease extended, until it is settled or its consumer is closed, which gives it back. A
    settlement that is LOST came too late or was not the first; one that is UNKNOWN may be tried again.

    Attributes:
        message: the message.
        value: its body as the channel's type.
        attempt: 1 for the first delivery to this group.
    """

    __slots__ = ("_consumer", "_delivery", "attempt", "message", "value")

    def __init__(self, consumer: Consumer[T], delivery: Delivery, value: T) -> None:
        self._consumer = consumer
        self._delivery = delivery
        self.message: Message = delivery.message
        self.value = value
        self.attempt = delivery.attempt

    async def ack(self) -> Settlement:
        """Done: the group is through with this message."""
        return await self._consumer.settle(self._delivery, None)

    async def retry(self, why: str = "", *, after: float | None = None) -> Settlement:
        """Failed: try again after so many seconds (None: by the backoff); a dead letter once attempts are exhausted.

        Raises as `reject` does.
        """
        return await self._consumer.settle(self._delivery, Retry(why, after=after))

    async def reject(self, why: str = "") -> Settlement:
        """It can never be handled: a dead letter at once.

        Raises ConnectionFailed when the bus's `dead_letters` cannot be reached; it stays in hand then.
        """
        return await self._consumer.settle(self._delivery, Reject(why))


class Consumer(Generic[T]):
    """Pulls the messages of one group; made by `Bus.consumer`."""

    def __init__(
        self,
        source: Source,
        subscription: Subscription,
        *,
        decode: Decode,
        retry: Backoff,
        keeps_history: bool,
        box: Parking | None,
        clock: Clock,
        on_pull: OnPull | None = None,
    ) -> None:
        self._source = source
        self._who = f"consumer of {source.channel} @ {source.group}"
        self._subscription = subscription
        self._decode = decode
        self._retry = retry
        self._keeps_history = keeps_history
        self._box = box
        self._clock = clock
        self._on_pull = on_pull
        self._closed = False
        self._in_hand: set[Delivery] = set()
        self._pulling = asyncio.Lock()
        self._leases: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[Sequence[Settlement]]] = set()

    def start(self) -> None:
        """Begin to extend what is in hand."""
        if self._subscription.lease is not None:
            keeping = keep_leases(
                self._subscription,
                self._subscription.lease,
                self._in_hand,
                clock=self._clock,
                who=self._who,
                lost=self._lost,
            )
            self._leases = asyncio.get_running_loop().create_task(keeping, name=f"pabal leases: {self._who}")

    async def pull(self, *, max: int = 1, wait: float = 0.0) -> list[Pulled[T]]:
        """Take 1 to `max` deliveries, waiting up to `wait` seconds for the first; none came: an empty list.

        A body of another type becomes a dead letter and is not returned. Cancelling it loses nothing. Raises
        ConnectionFailed once the consumer is closed.
        """
        if max < 1 or not wait >= 0:
            raise ConfigurationError("pull needs max of at least 1 and wait of at least 0 seconds")
        if self._leases is not None and self._leases.done() and not self._closed:
            self._leases.result()  # raises why leases are no longer kept
        async with self._pulling:
            since = asyncio.get_running_loop().time()
            until = since + (wait or _AT_ONCE)
            self._subscription.resize(max)
            try:
                while True:
                    async with asyncio.timeout_at(until):
                        received = await self._subscription.receive(max)
                    pulled = await self._accept(received)
                    if pulled:
                        if self._on_pull is not None:
                            seconds = asyncio.get_running_loop().time() - since
                            self._on_pull(self._source, [one.message for one in pulled], seconds)
                        return pulled
            except TimeoutError:
                return []
            finally:
                if not self._closed:
                    self._subscription.resize(0)

    async def settle(self, delivery: Delivery, error: BaseException | None) -> Settlement:
        """End a pulled delivery; settling it twice is LOST the second time."""
        if delivery not in self._in_hand:
            return Settlement.LOST
        outcome: Outcome = ACKED
        if error is not None:
            failures = len(delivery.errors) if self._keeps_history else delivery.attempt - 1
            now = utc(self._clock.time())
            outcome = decide.after(delivery, error, self._retry, now, failures=failures)
        self._in_hand.discard(delivery)
        settlement = Settlement.UNKNOWN
        try:
            (settlement,) = await self._end([Settled(delivery, outcome)])
        finally:
            if settlement is Settlement.UNKNOWN and not self._closed:
                self._in_hand.add(delivery)
        return settlement

    async def aclose(self) -> None:
        """Give back what is not settled; safe to call twice."""
        self._closed = True
        self._in_hand.clear()
        ends: list[asyncio.Task[Any]] = [*self._releasing]
        if self._leases is not None:
            self._leases.cancel()
            ends.append(self._leases)
        try:
            await asyncio.gather(*ends, return_exceptions=True)
        finally:
            await self._subscription.aclose()

    async def _accept(self, deliveries: Sequence[Delivery]) -> list[Pulled[T]]:
        """What of `deliveries` is for the user; the rest becomes dead letters."""
        pulled: list[Pulled[T]] = []
        ended: list[Settled] = []
        now = utc(self._clock.time())
        for delivery in deliveries:
            dead = decide.before(delivery, self._retry, now)
            if dead is None:
                try:
                    value = self._decode(delivery.message.body, delivery.message.content_type)
                except Exception as error:  # noqa: BLE001 - a custom codec may raise anything; the body is hostile
                    dead = decide.undecodable(delivery, error, now)
                else:
                    pulled.append(Pulled(self, delivery, value))
            if dead is not None:
                ended.append(Settled(delivery, dead))
        if ended:
            try:
                await self._end(ended)
            except BaseException:
                self._give_back(deliveries)
                raise
        self._in_hand.update(one._delivery for one in pulled)  # noqa: SLF001 - of this file
        return pulled

    async def _end(self, ended: Sequence[Settled]) -> Sequence[Settlement]:
        for one in ended:
            if isinstance(one.outcome, Rejected):
                why = one.outcome.failure.error if one.outcome.failure is not None else ""
                log.warning(
                    "%s: %s is a dead letter (%s): %s", self._who, one.delivery.message.id, one.outcome.reason, why
                )
        if self._box is not None:
            now = utc(self._clock.time())
            dead = [
                letter(one.delivery, one.outcome, self._source, now)
                for one in ended
                if isinstance(one.outcome, Rejected)
            ]
            if dead:
                await self._box.park(dead)
                ended = [
                    Settled(one.delivery, ACKED if isinstance(one.outcome, Rejected) else one.outcome) for one in ended
                ]
        try:
            return await self._subscription.settle(ended)
        except PabalError as error:
            log.warning("%s: could not settle %d deliveries, they may come again: %s", self._who, len(ended), error)
            return [Settlement.UNKNOWN] * len(ended)

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Release what its puller will never see, in the background: the pull was cancelled, or could not end."""
        giving = self._end([Settled(delivery, RELEASED) for delivery in deliveries])
        task = asyncio.get_running_loop().create_task(giving, name=f"pabal give back: {self._who}")
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def _lost(self, deliveries: Sequence[Delivery]) -> None:
        log.warning("%s: lost the lease of %d deliveries, others have them now", self._who, len(deliveries))
