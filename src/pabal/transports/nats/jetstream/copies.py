"""What a listener has of the server: copies of its own, of which the server takes nothing back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pabal.model.clock import Clock, Timer
from pabal.model.outcome import Outcome, Settlement
from pabal.transports.nats.jetstream.holding import Early, Held
from pabal.transports.nats.jetstream.position import Position
from pabal.transports.nats.received import Received


class Copies:
    """Takes the place of `Holding` where nothing is acknowledged; what comes too early waits here."""

    gives_back = False

    def __init__(self, after: int, *, clock: Clock) -> None:
        self.last = after
        self._clock = clock
        self._early: dict[Held, Timer] = {}

    def __len__(self) -> int:
        return len(self._early)

    def take(self, received: Received, at: Position) -> Held:
        """Hold what has come."""
        self.last = at.sequence
        return Held(received, at, 0.0)

    def look_up(self, held: Held, done: Callable[[Held], None]) -> None:
        """There is nothing to find out."""
        done(held)

    def is_ours(self, held: Held) -> bool:
        """A copy is nobody else's."""
        del held
        return True

    def drop(self, held: Held) -> None:
        """Nobody else gets it."""

    def take_all(self) -> list[Held]:
        """What waits for its time is forgotten; nothing of it goes back."""
        for timer in self._early.values():
            timer.cancel()
        self._early.clear()
        return []

    async def end(self, ended: Sequence[tuple[Held, Outcome | Early]]) -> list[Settlement]:
        """However it ends, the server has forgotten it."""
        return [Settlement.DONE] * len(ended)

    async def extend(self, held: Sequence[Held]) -> None:
        """Nothing runs out."""

    def wait(self, held: Held, seconds: float, enter: Callable[[Held], None]) -> bool:
        """Keep what came too early, and have it enter again when it is due; returns that this is done."""

        def due() -> None:
            if self._early.pop(held, None) is not None:
                enter(held)

        self._early[held] = self._clock.call_at(self._clock.time() + seconds, due)
        return True
