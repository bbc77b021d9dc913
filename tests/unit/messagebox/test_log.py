"""The write-ahead log: what is flushed of it, and what is told when the disk does not take it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from pabal.messagebox.sqlite.box import Box
from pabal.messagebox.sqlite.log import WriteAheadLog
from pabal.model.clock import SystemClock


def test_a_disk_that_takes_all_is_no_trouble(tmp_path: Path) -> None:
    """A box that was just opened has its log on the disk."""
    box = Box(str(tmp_path / "box.db"), clock=SystemClock(), lease=30.0, full=True, overflow=10)
    box.file.open()
    with closing(box.file):
        assert box.flush() is None


def test_a_log_that_cannot_be_flushed_is_told(tmp_path: Path) -> None:
    """What the disk does not take is no success: the error says that it is written, but may not last."""
    os.mkfifo(tmp_path / "box.db-wal")  # a pipe has no disk to be flushed to
    with closing(WriteAheadLog(str(tmp_path / "box.db"))) as log:
        failure = log.flush()
    assert failure is not None
    assert "a loss of power may take it" in str(failure)
