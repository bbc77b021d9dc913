"""How a command that runs on is ended: by signals, by its supervisor, and for certain."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pabal.cli.supervision import Supervision

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

AT_ONCE = 2.0
"""Seconds after the second signal in which what hangs on is left behind."""

_ONCE_MORE = 0
_NO_MORE = -1


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
    asked: SimpleQueue[int] = SimpleQueue()
    heeding = threading.Thread(target=_heed, args=(asked, loop, stop, at_once), name="pabal signals", daemon=True)
    heeding.start()

    # No more than a note for the thread: a signal may come while this one holds whatever lock.
    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - how signals call
        asked.put(_ONCE_MORE if supervision is None else 1)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        # The loop has itself woken by the signals it handles: one that comes just before it waits would else be heard
        # when something else wakes it, or never. It is not to handle them, since that would wait for its turn.
        loop.add_signal_handler(number, _do_nothing)
        signal.signal(number, on_signal)
    try:
        if supervision is not None:
            supervision.obey(asked.put)
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
        asked.put(_NO_MORE)
        heeding.join()


def _heed(asked: SimpleQueue[int], loop: asyncio.AbstractEventLoop, stop: Callable[[], None], at_once: float) -> None:
    """Have `stop` called as often as was asked for, and see to what the second and third time mean."""
    last = threading.Timer(at_once, _leave)
    last.daemon = True
    times = 0
    while (order := asked.get()) != _NO_MORE:
        wanted = times + 1 if order == _ONCE_MORE else order
        while times < wanted:
            times += 1
            if times == 2:
                last.start()
            elif times > 2:
                _leave()
            with suppress(RuntimeError):  # the loop has ended, which is what was asked for
                loop.call_soon_threadsafe(stop)
    last.cancel()


def _do_nothing() -> None:
    pass


def _leave() -> None:
    # Past Python's streams, whose locks the main thread may hold; nor is it held up by nobody reading what it says.
    with suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, b"pabal: ended at once, in the middle of what would not end\n")
    os._exit(1)


def leave_threads(code: int) -> None:
    """End the process now if a thread would keep it alive; else return."""
    own = threading.current_thread()
    if any(thread is not own and not thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
