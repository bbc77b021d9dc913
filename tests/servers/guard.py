"""Ends what a test process started and removes its folders, once that process is gone, however it went.

It is a process of its own, in a session of its own, that reads a pipe: what it reads are the process groups to end,
and the pipe's end, or another parent than before, tells it that the test process is gone. So ``kill -9`` of pytest
leaves nothing behind, on Linux and macOS alike. An ordinary end goes the same way.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class Guard:
    """A guard over this process's servers.

    Attributes:
        folder: where they keep their data; gone with the guard.
    """

    def __init__(self) -> None:
        # No site: it starts in half the time, and needs nothing that is installed.
        command = [sys.executable, "-I", "-S", __file__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders = self._process.stdin
        self.folder = Path(self._process.stdout.readline().rstrip("\n"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, group: int) -> None:
        """End this process group when this process is gone."""
        self._order(f"+{group}\n")

    def drop(self, group: int) -> None:
        """Leave this process group alone: it has ended."""
        self._order(f"-{group}\n")

    def close(self) -> None:
        """End all that is left, and return once it is gone."""
        self._process.communicate(timeout=30)

    def _order(self, line: str) -> None:
        self._orders.write(line)
        self._orders.flush()


def main() -> None:
    parent = os.getppid()
    folder = tempfile.mkdtemp(prefix="pabal-servers-")
    print(folder, flush=True)
    groups: set[int] = set()
    unread = b""
    while os.getppid() == parent:  # a child that the test process forked may hold the pipe open for long
        if not select.select([0], [], [], 0.2)[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            break
        *lines, unread = (unread + read).split(b"\n")
        for line in lines:
            (groups.add if line.startswith(b"+") else groups.discard)(int(line[1:]))
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):  # macOS: the latter, when all of it are zombies
            os.killpg(group, signal.SIGKILL)
    until = time.monotonic() + 10
    while Path(folder).exists() and time.monotonic() < until:  # what is dying may still write
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
