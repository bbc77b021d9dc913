"""How jobs come from the event loop to the thread that owns a box."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Jobs(Generic[Job]):
    """A queue from one thread to one other, which takes many at a time and waits for them up to a time.

    Not `queue.SimpleQueue`: up to Python 3.13 at least, its ``get(timeout=)`` waits for ever when its time has run out
    before it came to wait, as it does now and then on a busy machine. `queue.Queue` knows that, and is slower.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._nothing_new = threading.Lock()
        self._nothing_new.acquire()

    def put(self, job: Job) -> None:
        """Add a job; from one thread only."""
        self._jobs.append(job)
        # Only this thread releases it, so that it is still held below.
        if self._nothing_new.locked():
            self._nothing_new.release()

    def take(self, most: int, *, patience: float) -> list[Job]:
        """Up to `most` jobs, oldest first; waits up to `patience` seconds for the first. From one thread only."""
        self._nothing_new.acquire(blocking=False)
        if not self._jobs and patience > 0:
            self._nothing_new.acquire(timeout=patience)
        return [self._jobs.popleft() for _ in range(min(most, len(self._jobs)))]
