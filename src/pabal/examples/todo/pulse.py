"""Whether what carries the messages answers: while somebody looks on, the page asks itself over it."""

from __future__ import annotations

import asyncio

from pabal import Bus, CapabilityError, Channel, PabalError
from pabal.examples.todo.push import Browsers

PULSE = Channel("events.todo.pulse", bytes)
EVERY = 5.0
AGAIN = 1.0
WITHIN = 3.0


class Pulse:
    """Asks every `EVERY` seconds, and `AGAIN` seconds after a question that had no answer `WITHIN` some more.

    Nobody but the page answers, so an answer says that the page hears what is published, too.

    Attributes:
        away: whether there was no answer.
    """

    def __init__(self, bus: Bus, browsers: Browsers) -> None:
        self.away = False
        self._bus = bus
        self._browsers = browsers

        @bus.listen(PULSE)
        async def answer(asked: bytes) -> bytes:
            return asked

    async def run(self) -> None:
        """Ask until cancelled; return where the transport carries no requests."""
        while True:
            await self._browsers.watched.wait()
            try:
                await self._bus.request(PULSE, b"", timeout=WITHIN)
            except CapabilityError:
                return
            except PabalError:
                self.tell(away=True)
            else:
                self.tell(away=False)
            await asyncio.sleep(AGAIN if self.away else EVERY)

    def tell(self, *, away: bool) -> None:
        """Let the browsers know when that has changed."""
        if self.away != away:
            self.away = away
            self._browsers.tell("away", b"true" if away else b"false")
