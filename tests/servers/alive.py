"""Whether processes run that are not our own children."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether this process runs. A zombie does not: it waits for a parent, maybe for ever, and holds nothing."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        return state(pid) != "Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists()


def state(pid: int) -> str:
    """A process's state on Linux, one letter: R, S, T (frozen), Z. Raises FileNotFoundError where there is none."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    return after_name.split()[0]


def until(holds: Callable[[], bool], what: str, *, within: float = 20.0) -> None:
    """Return once it holds. Raises TimeoutError after `within` seconds."""
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {within:g} s in vain for {what}")
        time.sleep(0.01)
