"""Pulling: deliveries asked for, and settled one by one by their taker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Generic, TypeVar

from pabal.model.clock import Clock, utc
from pabal.model.codec import Decode
from pabal.model.errors import ConfigurationError, PabalError
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Outcome, Reject, Rejected, Retry, Settlement
from pabal.model.transport import Delivery, Parks, Settled, Source, Subscription
from pabal.runtime import decide
from pabal.runtime.dead import letter
from pabal.runtime.retry import Backoff

log = logging.getLogger("pabal.consumer")

T = TypeVar("T")


class Pulled(Generic[T]):
    """A delivery in the hands of whoever pulled it.

    It stays ours, its lease extended, until it is settled or its consumer is closed, which gives it back.

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
        """Failed: try again after so many seconds (None: by the backoff); a dead letter once attempts are exhausted."""
        return await self._consumer.settle(self._delivery, Retry(why, after=after))

    async def reject(self, why: str = "") -> Settlement:
        """It can never be handled: a dead letter at once."""
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
        box: Parks | None,
        clock: Clock,
    ) -> None:
        self._source = source
        self._subscription = subscription
        self._decode = decode
        self._retry = retry
        self._keeps_history = keeps_history
        self._box = box
        self._clock = clock
        self._in_hand: set[Delivery] = set()
        self._pulling = asyncio.Lock()
        self._extender: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to extend what is in hand."""
        if self._subscription.lease is not None:
            self._extender = asyncio.get_running_loop().create_task(
                self._extend(self._subscription.lease), name=f"pabal extend: {self._source.group}"
            )

    async def pull(self, *, max: int = 1, wait: float = 0.0) -> list[Pulled[T]]:
        """Take 1 to `max` deliveries, waiting up to `wait` seconds for the first; none came: an empty list.

        A body of another type becomes a dead letter and is not returned.
        """
        if max < 1 or wait < 0:
            raise ConfigurationError("pull needs max of at least 1 and wait of at least 0 seconds")
        async with self._pulling:
            self._subscription.resize(max)
            try:
                async with asyncio.timeout(wait or 0.05):
                    while True:
                        pulled = await self._accept(await self._subscription.receive(max))
                        if pulled:
                            return pulled
            except TimeoutError:
                return []
            finally:
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
        return await self._end(delivery, outcome)

    async def aclose(self) -> None:
        """Give back what is not settled."""
        if self._extender is not None:
            self._extender.cancel()
            await asyncio.gather(self._extender, return_exceptions=True)
        await self._subscription.aclose()
        self._in_hand.clear()

    async def _accept(self, deliveries: Sequence[Delivery]) -> list[Pulled[T]]:
        self._in_hand.update(deliveries)
        pulled = []
        for delivery in deliveries:
            now = utc(self._clock.time())
            ended = decide.before(delivery, self._retry, now)
            if ended is None:
                try:
                    value = self._decode(delivery.message.body, delivery.message.content_type)
                except Exception as error:  # noqa: BLE001 - a custom codec may raise anything; the body is hostile
                    ended = decide.undecodable(delivery, error, now)
                else:
                    pulled.append(Pulled(self, delivery, value))
            if ended is not None:
                await self._end(delivery, ended)
        return pulled

    async def _end(self, delivery: Delivery, outcome: Outcome) -> Settlement:
        if self._box is not None and isinstance(outcome, Rejected):
            await self._box.park([letter(delivery, outcome, self._source, utc(self._clock.time()))])
            outcome = ACKED
        (settlement,) = await self._subscription.settle([Settled(delivery, outcome)])
        self._in_hand.discard(delivery)
        return settlement

    async def _extend(self, lease: float) -> None:
        while True:
            await self._clock.sleep(lease / 3)
            if not self._in_hand:
                continue
            try:
                lost = await self._subscription.extend(list(self._in_hand))
            except PabalError as error:
                log.warning("could not extend the leases of group %s: %s", self._source.group, error)
                continue
            self._in_hand.difference_update(lost)
