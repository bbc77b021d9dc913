"""How a command that runs on is ended: by signals, by its supervisor, and for certain."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
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

# What the thread that heeds reads: the number of a signal, an order above all of those, or that it is not needed.
_ORDERS = 128
_NO_MORE = 0


_undoings: list[Callable[[], None]] = []
_forking = threading.local()


def _hold_back() -> None:
    # What is sent to a child that a handler forks is not for us, though it begins with our handlers and descriptors.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _begin_anew() -> None:
    for undo in _undoings:
        undo()
    _undoings.clear()
    _let_come()


os.register_at_fork(before=_hold_back, after_in_parent=_let_come, after_in_child=_begin_anew)


@contextmanager
def on_signals(
    stop: Callable[[], None], *, at_once: float = AT_ONCE, supervision: Supervision | None = None
) -> Iterator[None]:
    """Call `stop` in the running loop at each SIGTERM and SIGINT.

    The second one also sees to it that the process ends within `at_once` seconds, even when a handler has the main
    thread to itself, be it in a call that runs no Python, or will not be cancelled; a third ends it on the spot. Under
    a supervisor every signal counts as the first, since a service manager may signal both: the second comes from the
    supervisor, or from its end.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)

    def tell(what: int) -> None:
        with suppress(OSError):  # full of what is told already, or closed: nobody waits for an end any more
            told.send(bytes((what,)))

    # Python writes each signal's number to this descriptor in the moment it comes, in whatever thread. The handlers
    # themselves wait for the main thread, which may be long in a call.
    woken_before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    heeder = _Heeder(heard, woken_before, asyncio.get_running_loop(), stop, at_once, supervised=supervision is not None)
    heeding = threading.Thread(target=heeder.run, name="pabal signals", daemon=True)
    heeding.start()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - how signals call
        current = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        if current != told.fileno():  # a handler's library has signals of its own, and so nobody was told of this one
            signal.set_wakeup_fd(current)
            tell(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def undo() -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)

    _undoings.append(undo)
    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        if supervision is not None:
            supervision.obey(lambda times: tell(_ORDERS + times))
        yield
    finally:
        _undoings.remove(undo)
        for number, handler in before.items():
            signal.signal(number, handler)
        current = signal.set_wakeup_fd(woken_before)
        if current != told.fileno():
            signal.set_wakeup_fd(current)
        tell(_NO_MORE)
        heeding.join()
        told.close()
        heard.close()


class _Heeder:
    """Has `stop` called as often as was asked for, and sees to what the second and third time mean."""

    def __init__(
        self,
        heard: socket.socket,
        others: int,
        loop: asyncio.AbstractEventLoop,
        stop: Callable[[], None],
        at_once: float,
        *,
        supervised: bool,
    ) -> None:
        self._heard = heard
        self._others = others
        self._loop = loop
        self._stop = stop
        self._supervised = supervised
        self._last = threading.Timer(at_once, _leave)
        self._last.daemon = True
        self._times = 0

    def run(self) -> None:
        while (what := self._heard.recv(1)[0]) != _NO_MORE:
            if what > _ORDERS:
                self._ask(what - _ORDERS)
            elif what in _SIGNALS:
                self._ask(1 if self._supervised else self._times + 1)
            elif self._others != -1:  # the event loop's own, such as a SIGHUP that a handler's library waits for
                with suppress(OSError):
                    os.write(self._others, bytes((what,)))
        self._last.cancel()

    def _ask(self, times: int) -> None:
        while self._times < times:
            self._times += 1
            if self._times == 2:
                self._last.start()
            elif self._times > 2:
                _leave()
            with suppress(RuntimeError):  # the loop has ended, which is what was asked for
                self._loop.call_soon_threadsafe(self._stop)


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
