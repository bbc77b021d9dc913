"""Trouble with the file: said once, and tried again with pauses until it is over."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("pabal.sqlite")

_FIRST_REST = 0.05
_MOST_REST = 5.0


class Trouble:
    """Whether there is trouble with something, by its name, and how long to leave it alone."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._rest = 0.0
        self._until = 0.0

    @property
    def lasts(self) -> bool:
        """Whether it is not over yet."""
        return self._rest > 0

    def rest(self) -> float:
        """Seconds until the next try; 0 or less: it may be tried now."""
        return self._until - time.monotonic() if self._rest else 0.0

    def note(self, trouble: BaseException | None) -> None:
        """Know what came of a try; None: it worked."""
        if trouble is not None:
            if not self._rest:
                log.warning("%s; trying again until it works", trouble)
            self._rest = min(max(self._rest * 2, _FIRST_REST), _MOST_REST)
            self._until = time.monotonic() + self._rest
        elif self._rest:
            self._rest = 0.0
            log.info("%s works again", self._what)
