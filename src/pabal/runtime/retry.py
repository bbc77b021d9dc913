"""When a failed message is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from pabal.model.errors import ConfigurationError

DELIVERIES_PER_ATTEMPT = 4
"""Deliveries that end without an outcome (the worker died) are capped at this many times the attempts."""

_TOO_LONG = 1e10


class Backoff(msgspec.Struct, frozen=True):
    """Try a failing message `attempts` times in all, waiting longer each time.

    The wait before try n + 1 is a random part of ``min(most, first * factor ** (n - 1))`` seconds ("full jitter",
    so that many messages that failed together do not come back together).
    """

    attempts: int = 5
    first: float = 0.5
    factor: float = 2.0
    most: float = 60.0

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ConfigurationError("Backoff needs attempts of at least 1 (1: never try again)")
        if not (0 <= self.first < _TOO_LONG and 0 <= self.most < _TOO_LONG and 1 <= self.factor < _TOO_LONG):
            raise ConfigurationError("Backoff needs first and most of at least 0 seconds, and a factor of at least 1")

    def delay(self, failures: int, *, rand: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the `failures`-th failure (from 1 on); `rand` gives a number from 0 to 1."""
        try:
            longest = min(self.most, self.first * self.factor ** (failures - 1))
        except OverflowError:
            longest = self.most if self.first else 0.0
        return longest * rand()
