"""However a test run ends, its servers end with it, for root and for an ordinary user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.alive import alive, until
from tests.servers.guard import Guard
from tests.servers.inner import ROOT, inner_pytest
from tests.servers.legs import LEGS
from tests.servers.packages import PROGRAMS
from tests.servers.server import LAUNCH

NOBODY = 65534

HANGING = """
import os, signal

def test_hanging(start_nats, start_redis):
    nats, redis = start_nats(), start_redis()
    redis.freeze()
    print(nats.pid, redis.pid, nats.place.folder.parent, flush=True)
    signal.pause()
"""

WALK = """
import os, sys
from tests.servers.guard import Guard
from tests.servers.nats import Nats
from tests.servers.redis import Redis
from tests.servers.server import Server

with Guard() as guard:
    for program in sys.argv[1:]:
        recipe = Nats() if "nats" in program else Redis()
        with Server(recipe, name="server", program=program, guard=guard) as server:
            server.start()
            server.kill()
            server.start()
            server.freeze()
            server.thaw()
            server.stop()
            print(os.getuid(), server.version)
print(guard.folder.exists())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """When pytest is killed in the middle of a test, its servers are gone at once, frozen ones too, and their data."""
    run = subprocess.Popen(**inner_pytest(tmp_path, HANGING, "-sq"), stdout=subprocess.PIPE)
    try:
        assert run.stdout is not None
        *pids, folder = run.stdout.readline().split()
        assert all(alive(int(pid)) for pid in pids)
        assert Path(folder).is_dir()
    finally:
        run.send_signal(number)
        run.communicate()
    for pid in pids:
        until(lambda pid=pid: not alive(int(pid)), f"the end of {pid}")  # type: ignore[misc]
    until(lambda: not Path(folder).exists(), f"the end of {folder}")


def test_a_forked_child_keeps_nothing_alive(tmp_path: Path) -> None:
    """The servers of a killed process end even while a child that it forked lives on, with all its open files."""
    program = """
import os, signal, sys
from tests.servers.guard import Guard
guard = Guard()
child = os.fork()
if child:
    print(child, guard.folder, flush=True)
signal.pause()
"""
    run = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    child, folder = run.stdout.readline().split()
    run.kill()
    run.wait()
    run.stdout.close()
    try:
        until(lambda: not Path(folder).exists(), f"the end of {folder}")
        assert alive(int(child))
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_a_server_that_was_not_announced_does_not_start(tmp_path: Path) -> None:
    """A run that is killed as it starts a server, before the guard knows of it, leaves a shell that goes by itself."""
    started = tmp_path / "started"
    launched = subprocess.Popen([*LAUNCH, "touch", started], stdin=subprocess.PIPE)
    launched.communicate()
    assert launched.returncode != 0
    assert not started.exists()


def test_closing_twice() -> None:
    """A guard can be closed again."""
    guard = Guard()
    guard.close()
    guard.close()
    assert not guard.folder.exists()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can read, wherever this checkout and its programs are."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="not root: every other test here runs as an ordinary user")
def test_as_an_ordinary_user(open_folder: Path) -> None:
    """An ordinary user's servers start, are killed, frozen and stopped as root's are."""
    shutil.copytree(Path(__file__).parent, open_folder / "tests" / "servers")
    programs = []
    for leg in (leg for legs in LEGS.values() for leg in legs):
        if PROGRAMS[leg.name].wanted:
            found = PROGRAMS[leg.name].find()
            assert found is not None, PROGRAMS[leg.name].advice
            programs.append(shutil.copy(found, open_folder / leg.name))
    done = subprocess.run(
        [readable_python(), "-c", WALK, *programs],
        cwd=open_folder,
        env={"PATH": os.defpath},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *walked, left = done.stdout.splitlines()
    assert [str(NOBODY)] * len(programs) == [line.split()[0] for line in walked]
    assert left == "False"


def readable_python() -> str:
    """A Python that nobody, too, may run; root's own may be in root's home. Skips the test where there is none."""
    for python in sys.executable, "/usr/bin/python3", "/usr/local/bin/python3":
        probe = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            done = subprocess.run([python, "-I", "-c", probe], user=NOBODY, group=NOBODY, extra_groups=[], check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("no Python 3.11 or newer here that an ordinary user may run")
