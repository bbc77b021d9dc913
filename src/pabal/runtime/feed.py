"""Feeding a worker: by a task of its own while it waits, by a lane that has run out of work while there is plenty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pabal.model.transport import Delivery, Subscription
from pabal.runtime.stepping import at_once
from pabal.runtime.window import Window


class Feed:
    """Receives from a subscription what `take_in` is given, while not `is_sated`.

    `hungry` is to be set whenever it may be sated no longer.
    """

    def __init__(
        self,
        subscription: Subscription,
        window: Window,
        *,
        take_in: Callable[[Sequence[Delivery]], None],
        is_sated: Callable[[], bool],
    ) -> None:
        self.hungry = asyncio.Event()
        self._subscription = subscription
        self._window = window
        self._take_in = take_in
        self._is_sated = is_sated
        self._receiving = False
        self._plenty = False

    async def run(self) -> None:
        """Receive until cancelled."""
        while True:
            while self._receiving or self._is_sated():
                self.hungry.clear()
                await self.hungry.wait()
            self._receiving = True
            try:
                self._note(await self._subscription.receive(self._portion))
            finally:
                self._receiving = False

    async def help(self) -> None:
        """Receive what is there without waiting for more, if there was plenty.

        A lane that left it to `run` would lose two turns of the event loop.
        """
        if not self._plenty or self._receiving or self._is_sated():
            return
        self._receiving = True
        try:
            self._note(await at_once(self._subscription.receive(self._portion), ()))
        finally:
            self._receiving = False

    @property
    def _portion(self) -> int:
        return max(1, self._window.size // 2)

    def _note(self, received: Sequence[Delivery]) -> None:
        self._plenty = len(received) >= self._portion
        if received:
            self._take_in(received)
