"""A program that publishes until SIGTERM, and writes down what it intended and what was acknowledged.

python -m tests.faults.publisher WHO LEDGER CHANNEL SEED PADDING TIMEOUT, with the bus's URL in PABAL_URL

It has a few lanes; each has keys of its own and publishes one message or several after another, so that the messages
of a key have an order. While there is a file ``hush`` beside the ledger, they rest.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from pabal import Bus, ConnectionFailed, Outgoing, PublishError, PublishTimeout
from tests.faults.ledger import Fate, Ledger
from tests.faults.orders import Errand

LANES = 3
KEYS = 8
"""Keys of each lane: enough for every member of an ordered group to own some."""

LATE = 2.0
"""Seconds beyond its timeout after which it was too late, on a busy machine too."""

PAUSE = 0.02
"""Seconds between two calls of one lane, so that the machine has time for the workers."""

FATES: list[Fate] = ["handle", "fail", "reject"]


class Publisher:
    """One process's publishing."""

    def __init__(
        self,
        bus: Bus,
        ledger: Ledger,
        *,
        who: str,
        channel: str,
        chance: random.Random,
        padding: int,
        timeout: float,
        hush: Path,
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._who = who
        self._channel = channel
        self._chance = chance
        self._timeout = timeout
        self._hush = hush
        self._padding = "x" * padding
        self._number = count(1)
        self.over = False

    async def lane(self, keys: Sequence[str]) -> None:
        """Publish one call after another."""
        while not self.over:
            if not self._hush.exists():
                await self._publish(self._chance.choice(keys))
            await asyncio.sleep(PAUSE)

    async def _publish(self, key: str) -> None:
        errands = [self._errand() for _ in range(self._chance.choice([1, 1, 1, 5]))]
        for errand in errands:
            self._ledger.note("intended", errand.id, key=key, fate=errand.fate)
        ids = [errand.id for errand in errands]
        started = time.monotonic()
        try:
            await self._send(errands, key)
        except PublishError as error:
            self._fail(ids, error)
        except ConnectionFailed as error:
            self._ledger.failed("refused", *ids, error=error)
        else:
            self._ledger.note("acknowledged", *ids)
        if time.monotonic() - started > self._timeout + LATE:
            self._ledger.note("late", *ids)

    def _fail(self, ids: Sequence[str], error: PublishError) -> None:
        errors = {receipt.id: receipt.error for receipt in error.receipts}
        for id in ids:
            why = errors.get(id, error)
            if why is None:
                self._ledger.note("acknowledged", id)
            else:
                self._ledger.failed("unknown" if isinstance(why, PublishTimeout) else "refused", id, error=why)

    async def _send(self, errands: Sequence[Errand], key: str) -> None:
        if len(errands) == 1:
            await self._bus.publish(self._channel, errands[0], id=errands[0].id, key=key, timeout=self._timeout)
        else:
            outgoing = [Outgoing(errand, id=errand.id, key=key) for errand in errands]
            await self._bus.publish_many(self._channel, outgoing, timeout=self._timeout)

    def _errand(self) -> Errand:
        (fate,) = self._chance.choices(FATES, [96, 2, 2])
        return Errand(f"{self._who}-{next(self._number)}", fate, self._padding)


async def main(who: str, ledger: str, channel: str, seed: str, padding: str, timeout: str) -> None:
    async with Bus(name=who) as bus:
        publisher = Publisher(
            bus,
            Ledger(Path(ledger), who),
            who=who,
            channel=channel,
            chance=random.Random(f"{seed} {who}"),  # noqa: S311 - chance, not secrets
            padding=int(padding),
            timeout=float(timeout),
            hush=Path(ledger).with_name("hush"),
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(publisher, "over", True))
        print("publishing", flush=True)
        # A process that takes a killed one's place goes on with its keys.
        name = who.split(".", maxsplit=1)[0]
        async with asyncio.TaskGroup() as lanes:
            for lane in range(LANES):
                lanes.create_task(publisher.lane([f"{name}-key-{lane}-{number}" for number in range(KEYS)]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
