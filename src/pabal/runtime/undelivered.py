"""What was taken from a transport that settles nothing and not handled: nobody else has it, so it is parked here."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pabal.model.clock import Clock, utc
from pabal.model.errors import PabalError
from pabal.model.outcome import Reason, Rejected
from pabal.model.transport import Delivery, Source
from pabal.runtime.box import Parking, letter

log = logging.getLogger("pabal.worker")


class Undelivered:
    """Makes dead letters in `box` of what one source's reader cannot hand out."""

    def __init__(self, source: Source, *, box: Parking, clock: Clock) -> None:
        self._source = source
        self._box = box
        self._clock = clock
        self._who = source.channel if source.group is None else f"{source.channel} @ {source.group}"

    async def park(self, deliveries: Sequence[Delivery], reason: Reason) -> None:
        """Park these; those for which that fails are lost, and named in the log."""
        if not deliveries:
            return
        now = utc(self._clock.time())
        try:
            await self._box.park([letter(delivery, Rejected(reason), self._source, now) for delivery in deliveries])
        except PabalError as error:
            ids = ", ".join(delivery.message.id for delivery in deliveries)
            log.error(  # noqa: TRY400 - one line for the operator, with its cause
                "%s: lost, since no dead letters could be made of them (%s): %s", self._who, error, ids
            )
            return
        log.warning("%s: %d messages were not handled and are dead letters (%s)", self._who, len(deliveries), reason)
