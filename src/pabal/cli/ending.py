"""How a command that runs on is ended: by signals, and for certain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

AT_ONCE = 2.0
"""Seconds after the second signal in which what hangs on is left behind."""


@contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` in the running loop at each SIGTERM and SIGINT.

    The second one also sees to it that the process ends, even when a handler has the event loop to itself or will
    not be cancelled; a third ends it on the spot.
    """
    loop = asyncio.get_running_loop()
    last = threading.Timer(AT_ONCE, _leave)
    last.daemon = True
    asked = 0

    # Not by the loop's own signal handlers: those wait until the loop has its turn.
    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - how signals call
        nonlocal asked
        asked += 1
        if asked == 2:
            last.start()
        elif asked > 2:
            _leave()
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        last.cancel()


def _leave() -> None:
    # Past Python's streams, whose locks the main thread may hold.
    os.write(2, b"pabal: ended at once, in the middle of what would not end\n")
    os._exit(1)


def leave_threads(code: int) -> None:
    """End the process now if a thread would keep it alive; else return."""
    own = threading.current_thread()
    if any(thread is not own and not thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
