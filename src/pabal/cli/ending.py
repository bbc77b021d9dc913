"""How a command that runs on is ended: by signals, by its supervisor, and for certain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pabal.cli.supervision import Supervision

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

AT_ONCE = 2.0
"""Seconds after the second signal in which what hangs on is left behind."""


@contextmanager
def on_signals(
    stop: Callable[[], None], *, at_once: float = AT_ONCE, supervision: Supervision | None = None
) -> Iterator[None]:
    """Call `stop` in the running loop at each SIGTERM and SIGINT.

    The second one also sees to it that the process ends within `at_once` seconds, even when a handler has the event
    loop to itself or will not be cancelled; a third ends it on the spot. Under a supervisor every signal counts as the
    first, since a service manager may signal both: the second comes from the supervisor, or from its end.
    """
    loop = asyncio.get_running_loop()
    last = threading.Timer(at_once, _leave)
    last.daemon = True
    asked = 0
    # Signals may interrupt each other in this thread, and the supervisor is heard in another.
    asking = threading.RLock()

    def ask(times: int | None) -> None:
        """Count as asked so many times; None: once more."""
        nonlocal asked
        with asking:
            wanted = asked + 1 if times is None else times
            while asked < wanted:
                asked += 1
                if asked == 2:
                    last.start()
                elif asked > 2:
                    _leave()
                with suppress(RuntimeError):  # the loop has ended, which is what was asked for
                    loop.call_soon_threadsafe(stop)

    # Not by the loop's own signal handlers: those wait until the loop has its turn.
    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - how signals call
        ask(None if supervision is None else 1)

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        if supervision is not None:
            supervision.obey(ask)
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
