"""A worker process and its supervisor: the one gives orders through a pipe, the other does not outlive it.

An order is one byte. The pipe closes with the supervisor, however that ended, which is an order too.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping

from pabal.cli.ending import AT_ONCE

DRAIN = b"1"
NOW = b"2"

_LAST = AT_ONCE + 0.5
"""Seconds after the order to end at once in which the process is gone; the supervisor itself waits a little longer."""

_VARIABLE = "PABAL_SUPERVISED"


class Supervision:
    """What a worker process knows of its supervisor.

    Attributes:
        number: which of the supervisor's processes this is, from 1 on; None: the only one.
    """

    def __init__(self, number: int | None, orders: int) -> None:
        self.number = number
        self._order = 0
        self._obey: Callable[[int], None] | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, args=(orders,), name="pabal orders", daemon=True).start()

    def obey(self, ask: Callable[[int], None]) -> None:
        """From now on call `ask`, from another thread, with 1 when a drain is ordered and 2 for an end at once.

        Before that an order ends the process on the spot, since nothing was taken yet.
        """
        with self._lock:
            self._obey = ask

    def _listen(self, orders: int) -> None:
        while os.read(orders, 1) == DRAIN:
            self._take(1)
        self._take(2)
        time.sleep(_LAST)  # the process may linger for something else than its work
        os._exit(1)

    def _take(self, times: int) -> None:
        with self._lock:
            if self._obey is None:
                os._exit(times - 1)
            self._obey(times)


def environment(number: int, orders: int) -> Mapping[str, str]:
    """The environment of process `number` (0: the only one), which reads its orders from the descriptor `orders`."""
    return {**os.environ, _VARIABLE: f"{number}:{orders}"}


def supervised() -> Supervision | None:
    """This process's supervision; None where nobody supervises it. To be asked once."""
    given = os.environ.pop(_VARIABLE, None)  # it is not for the processes that handlers start
    if given is None:
        return None
    number, _, orders = given.partition(":")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # as at a terminal: the supervisor passes lines on
    return Supervision(int(number) or None, int(orders))
