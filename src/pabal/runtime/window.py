"""How many deliveries a worker holds ready."""

from __future__ import annotations

_LONGEST_WAIT = 1.0
_START = 2


def first_size(most: int, concurrency: int, *, shared: bool) -> int:
    """The size that a window has before anything is known about its handler."""
    return max(min(most, concurrency + _START) if shared else most, concurrency)


class Window:
    """A window that fits its handler: what waits starts soon, within a quarter of the lease at the latest.

    It begins small, so that a slow handler does not hoard what others could take, and grows to `most` as the
    handler shows itself fast. `shared` False: nobody else could take what is held, so it never shrinks.
    """

    def __init__(self, most: int, concurrency: int, lease: float | None, *, shared: bool = True) -> None:
        self._most = max(most, concurrency)
        self._concurrency = concurrency
        self._wait = _LONGEST_WAIT if lease is None else min(_LONGEST_WAIT, lease / 4)
        self._average = 0.0
        self._seen = 0
        self._shared = shared
        self.size = first_size(most, concurrency, shared=shared)

    @property
    def patience(self) -> float:
        """Seconds after which a call is to be observed by itself."""
        return self._wait / 8

    def observe(self, seconds: float, calls: int = 1) -> bool:
        """Take note of `calls` that took so many seconds each; returns whether `size` has changed."""
        self._seen += calls
        self._average += (seconds - self._average) * min(1.0, calls / min(self._seen, 50))
        if not self._shared:
            return False
        if self._average * self._most <= self._wait * self._concurrency:
            wanted = self._most
        else:
            wanted = max(self._concurrency, int(self._wait * self._concurrency / self._average))
        wanted = min(wanted, self.size * 2)
        if wanted == self.size or (self.size < wanted < self.size * 1.25 and wanted != self._most):
            return False
        self.size = wanted
        return True
