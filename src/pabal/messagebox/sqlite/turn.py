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
        self._waiter: _Waiter | None = None

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
        if self._waiter is not None:
            self._waiter.close()

    def _wait(self, timeout: float) -> bool:
        if self._waiter is None:
            self._waiter = _Waiter(self.path)
        if not self._waiter.wait(timeout):
            return False
        self._descriptor, self._waiter.descriptor = self._waiter.descriptor, self._descriptor
        return True


class _Waiter:
    """Waits in the kernel's own queue, which is fair but knows no timeout: so it has a thread.

    When the writer's patience ends first (another process is frozen within its turn), the thread stays and
    drops the turn as soon as it has it, unless the writer wants it again by then.
    """

    def __init__(self, path: str) -> None:
        self.descriptor = _open(path)
        self._mutex = threading.Lock()
        self._asked = threading.Lock()
        self._asked.acquire()
        self._got = threading.Lock()
        self._got.acquire()
        self._wanted = False
        self._waits = False
        self._closed = False
        threading.Thread(target=self._run, name="pabal-turn", daemon=True).start()

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; returns whether the turn is ours."""
        with self._mutex:
            self._wanted = True
            self._ask()
        if self._got.acquire(timeout=timeout):
            return True
        with self._mutex:
            if not self._wanted:  # it came just now
                self._got.acquire()
                return True
            self._wanted = False
        return False

    def close(self) -> None:
        """Wait no more."""
        with self._mutex:
            self._closed = True
            self._wanted = False
            self._ask()

    def _ask(self) -> None:
        if not self._waits:
            self._waits = True
            self._asked.release()

    def _run(self) -> None:
        while True:
            self._asked.acquire()
            if not self._closed:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            with self._mutex:
                self._waits = False
                if self._closed:
                    _close(self.descriptor)
                    return
                if self._wanted:
                    self._wanted = False
                    self._got.release()
                else:
                    fcntl.flock(self.descriptor, fcntl.LOCK_UN)
