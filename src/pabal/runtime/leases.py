"""Keeping the leases of what was received until it is settled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pabal.model.clock import Clock
from pabal.model.errors import PabalError
from pabal.model.transport import Delivery, Subscription

log = logging.getLogger("pabal.worker")


async def keep_leases(
    subscription: Subscription,
    lease: float,
    in_hand: set[Delivery],
    *,
    clock: Clock,
    who: str,
    lost: Callable[[Sequence[Delivery]], None],
) -> None:
    """Extend all of `in_hand` at each third of the lease, until cancelled.

    What is no longer ours leaves `in_hand` and is handed to `lost`.
    """
    while True:
        await clock.sleep(lease / 3)
        if not in_hand:
            continue
        try:
            gone = await subscription.extend(list(in_hand))
        except PabalError as error:
            log.warning("%s: could not extend its leases: %s", who, error)
            continue
        # What was settled while the transport looked is no loss.
        gone = [delivery for delivery in gone if delivery in in_hand]
        if gone:
            in_hand.difference_update(gone)
            lost(gone)
