"""Saboteurs of honesty: what they declare is not what they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from pabal.model.capabilities import Capabilities, Order
from pabal.model.clock import Clock
from pabal.model.transport import Delivery, Transport
from pabal.testing.saboteurs.modest import LESS
from pabal.testing.saboteurs.saboteur import Saboteur, add, saboteur
from pabal.testing.saboteurs.sharing import IgnoresStart
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport

_UNDERSTATED = {
    "broadcast": "listener_is_refused",
    "groups": "group_is_refused",
    "patterns": "pattern_is_refused",
    "settles": "unsettled_transport_forgets",
    "order": "order_is_refused",
    "counts_receivers": "uncounted_receivers_are_unknown",
    "detects_unrouted": "undetected_routing_is_unknown",
    "delays_retry": "undelayed_retry_is_not_lost",
    "delays_publish": "delayed_publish_is_refused",
    "requests": "requests_are_absent",
    "parks": "dead_letters_are_absent",
    "administers": "administration_is_absent",
    "examines": "examination_is_absent",
    "keeps_history": "unkept_failures_are_absent",
}


class Claiming(TamperedTransport):
    """Declares something else than it does."""

    def __init__(self, claims: dict[str, Any], inner: Transport, clock: Clock, shared: dict[str, Any]) -> None:
        super().__init__(inner, clock, shared)
        self._claims = claims

    async def open(self) -> Capabilities:
        """Not the truth."""
        return replace(await super().open(), **self._claims)


def _claim(name: str, text: str, claims: dict[str, Any], caught_by: str) -> None:
    def tamper(inner: Transport, clock: Clock, shared: dict[str, Any]) -> Transport:
        return Claiming(claims, inner, clock, shared)

    add(Saboteur(name, text, (caught_by,), tamper))


for _flag, _promise in _UNDERSTATED.items():
    _claim(f"understates_{_flag}", f"Declares no {_flag} and does it all the same.", {_flag: LESS[_flag]}, _promise)


_claim(
    "overstates_order",
    "Declares the order of the channel and keeps that of each key.",
    {"order": Order.CHANNEL},
    "channel_stays_in_order",
)


@saboteur("capabilities_are_no_more_than_the_best")
class OutdoesItsBest(TamperedTransport):
    """Tells, before it is opened, that it does nothing."""

    @property
    def best(self) -> Capabilities:
        """Too modest."""
        return Capabilities()


@saboteur("start_is_kept")
class OverstatesReplays(IgnoresStart):
    """Declares replays and starts every group now."""

    async def open(self) -> Capabilities:
        """With a log that is not there."""
        return replace(await super().open(), replays=True)


class _Falling(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        return [replace(delivery, attempt=4 - delivery.attempt) for delivery in await super().receive(limit)]


@saboteur("uncounted_attempts_do_not_fall")
class AttemptsFall(TamperedTransport):
    """Declares that it counts no attempts, and counts down."""

    reading = _Falling

    async def open(self) -> Capabilities:
        """Not counting."""
        return replace(await super().open(), counts_attempts=False)
