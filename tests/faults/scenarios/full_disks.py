"""The disk is full: a small one of its own, and, for who may not mount one, a limit on the size of files."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.scenarios.troubles import trouble
from tests.faults.scene import Scene
from tests.faults.subject import NotRun, Subject, embedded

SIZE = 64_000_000
LEFT = 2_000_000
"""Bytes of the disk, and what is left for the box once something else has taken the rest."""

LIMIT = 8_000_000
"""Bytes that a file may have: more than the ledger needs, and less than the box."""

PADDING = 20_000


@contextmanager
def small_disk(folder: Path) -> Iterator[Subject]:
    """A message box alone on a disk of a few megabytes, in memory."""
    disk = folder / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        disk.rmdir()
        raise NotRun("only root on Linux may mount a small disk (tmpfs); run it so, or leave it out: WITHOUT=tmpfs")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        disk.rmdir()
        raise NotRun(f"a small disk (tmpfs) cannot be mounted here: {done.stderr.strip()}; leave it out: WITHOUT=tmpfs")
    try:
        with embedded(disk) as subject:
            yield subject
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def fill(scene: Scene) -> None:
    """Take space away; the box's own backlog takes what is left."""
    disk = scene.folder / "disk"
    with (disk / "filler").open("wb") as filler:
        while not _take(filler.fileno(), shutil.disk_usage(disk).free - LEFT):
            pass


def _take(file: int, size: int) -> bool:
    """Whether there was so much; the box may have been quicker."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


async def free(scene: Scene) -> None:
    (scene.folder / "disk" / "filler").unlink()


@contextmanager
def limitable(folder: Path) -> Iterator[Subject]:
    """A message box whose processes can be limited while they run."""
    if sys.platform != "linux":
        raise NotRun("only Linux limits another process (prlimit); leave it out: WITHOUT=prlimit")
    with embedded(folder) as subject:
        yield subject


async def limit(scene: Scene, size: int) -> None:
    """Let no file grow beyond `size` bytes: writes fail as they do on a disk that refuses them."""
    import resource

    for player in (*scene.workers, *scene.publishers):
        resource.prlimit(player.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def unlimit(scene: Scene) -> None:
    import resource

    await limit(scene, resource.RLIM_INFINITY)


full_disk = partial(trouble, begin=fill, end=free, failures=10, padding=PADDING)
refused_writes = partial(trouble, begin=partial(limit, size=LIMIT), end=unlimit, failures=10, padding=PADDING)
