"""The write-ahead log of a box's file, and the disk's word that it is there."""

from __future__ import annotations

import os

from pabal.model.errors import ConnectionFailed

_flush = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class WriteAheadLog:
    """The log of an open box: all that is committed is written to it, in order, before others can see it.

    With ``synchronous=FULL`` SQLite waits for the disk inside of its commit, while all other processes wait for that.
    Here they commit meanwhile. Whoever checkpoints flushes the log before it takes it into the file, and the file
    before it begins the log anew: so what was committed is on the disk once the log is flushed.

    Raises OSError when there is none.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path + "-wal", os.O_RDWR | os.O_CLOEXEC)

    def flush(self) -> ConnectionFailed | None:
        """Wait until the disk has all that was committed; returns what went wrong."""
        try:
            _flush(self._descriptor)
        except OSError as error:
            return ConnectionFailed(
                f"message box {self.path}: the disk did not take what was committed ({error.strerror}): it "
                "is there, but a loss of power may take it; see the system's log"
            )
        return None

    def close(self) -> None:
        """Flush no more."""
        os.close(self._descriptor)
