"""A box's file as the thread that writes has it open: its connection, the turn to write, and the log on the disk."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pabal.messagebox.sqlite.connection import PATIENCE, explain, open_box
from pabal.model.errors import ConnectionFailed

Result = TypeVar("Result")

log = logging.getLogger("pabal.sqlite")


class BoxFile:
    """The file; used by one thread only."""

    connection: sqlite3.Connection

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity = (0, 0)

    def open(self) -> None:
        """Open the file; see `open_box`."""
        self.connection, self._turn, self._log = open_box(self.path)
        self._identity = _identity(self.path)

    def read(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        """Read outside of a transaction; raises ConnectionFailed."""
        try:
            return query(self.connection)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Have the turn to write; raises ConnectionFailed when it does not come, or the file is no longer the same."""
        if not self._turn.acquire(PATIENCE):
            raise ConnectionFailed(
                f"message box {self.path}: another process has held the turn to write for {PATIENCE:g} s"
            )
        try:
            if _identity(self.path) != self._identity:
                raise ConnectionFailed(
                    f"message box {self.path}: the file was moved, deleted or replaced while it was in use; "
                    "put it back, or close and open again"
                )
            yield
        finally:
            self._turn.release()

    def flush(self) -> ConnectionFailed | None:
        """Wait until the disk has all that was committed; returns what went wrong."""
        return self._log.flush()

    def close(self) -> None:
        """Close it. The last one to do so takes the write-ahead log into it."""
        waited = self._turn.acquire(PATIENCE)
        try:
            self.connection.close()
        except sqlite3.Error as error:
            log.warning("%s; what was committed stays in its write-ahead log", explain(error, self.path))
        finally:
            if waited:
                self._turn.release()
            self._turn.close()
            self._log.close()


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - for each transaction, and a Path takes three times as long
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino
