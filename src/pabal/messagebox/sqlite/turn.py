"""Whose turn it is to write, among the processes that share a file.

SQLite's own busy handler sleeps longer and longer while others come and go, so that one writer may wait for
seconds. A lock on a file beside the box hands the turn on evenly; it is for fairness alone, correctness stays
SQLite's business.
"""

from __future__ import annotations

import fcntl
import os
import threading

_descriptors: set[int] = set()


def _forget() -> None:
    # A child that kept the descriptor would hold its dead parent's lock.
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_forget)


def _open(path: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _descriptors.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    if descriptor in _descriptors:
        _descriptors.discard(descriptor)
        os.close(descriptor)


class WriteTurn:
    """The turn to write `path`, for one thread."""

    def __init__(self, path: str) -> None:
        self.path = path + "-turn"
        self._descriptor = _open(self.path)
        self._waiting: _Wait | None = None

    def acquire(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the turn; returns whether it came."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._wait(timeout)
        return True

    def release(self) -> None:
        """Hand the turn on."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Never take a turn again."""
        _close(self._descriptor)

    def _wait(self, timeout: float) -> bool:
        if self._waiting is None or not self._waiting.resume():
            self._waiting = _Wait(self.path)
        if not self._waiting.wait(timeout):
            return False
        _close(self._descriptor)
        self._descriptor = self._waiting.descriptor
        self._waiting = None
        return True


class _Wait:
    """A wait in the kernel's own queue, which is fair but knows no timeout: so it has a thread.

    When the writer's patience ends first (another process is frozen within its turn), the thread stays and
    drops the turn as soon as it has it.
    """

    def __init__(self, path: str) -> None:
        self.descriptor = _open(path)
        self._mutex = threading.Lock()
        self._got = threading.Event()
        self._wanted = True
        self._over = False
        threading.Thread(target=self._run, name="pabal-turn", daemon=True).start()

    def resume(self) -> bool:
        """Want the turn again; returns False when it was dropped already."""
        with self._mutex:
            self._wanted = not self._over
            return self._wanted

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; returns whether the turn is ours."""
        if not self._got.wait(timeout):
            with self._mutex:
                self._wanted = self._got.is_set()
        return self._wanted

    def _run(self) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        with self._mutex:
            if self._wanted:
                self._got.set()
            else:
                self._over = True
                _close(self.descriptor)
