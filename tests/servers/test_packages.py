"""Which programs and servers a run needs, how it gets them, and what it says of those that it leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.inner import ROOT, inner_pytest
from tests.servers.legs import Given, chosen
from tests.servers.packages import PROGRAMS, left_out


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without wishes about this run."""
    for name in os.environ:
        if name.startswith("PABAL_TEST_") or name == "WITHOUT":
            monkeypatch.delenv(name)


def names(server: str, *features: str) -> list[str]:
    return [parameter.id for parameter in chosen(server, frozenset(features))]


def test_the_newest_by_default() -> None:
    """Without a word a test runs with the newest version alone, and with the newest that can do what it needs."""
    assert ["nats-2.15"] == names("nats")
    assert ["valkey-9.1"] == names("redis")
    assert ["redis-7.0"] == names("redis", "tls")


def test_every_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for all, it runs with each version that can do what it needs."""
    monkeypatch.setenv("PABAL_TEST_LEGS", "all")
    assert ["nats-2.15", "nats-2.9"] == names("nats")
    assert ["valkey-9.1", "redis-7.0"] == names("redis")
    assert ["redis-7.0"] == names("redis", "tls")


def test_leaving_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version can be left out, then the next serves, or a kind of server, then its tests say why they are skipped."""
    monkeypatch.setenv("WITHOUT", "valkey-9.1, nats")
    assert {"valkey-9.1", "nats-2.15", "nats-2.9"} == left_out()
    assert ["redis-7.0"] == names("redis")
    (skipped,) = chosen("nats")
    assert "nats-left-out" == skipped.id
    assert skipped.marks[0].kwargs == {"reason": "WITHOUT=valkey-9.1, nats leaves out every nats"}


def test_a_server_that_runs_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """A given server is the only version, takes any scheme, and none of its programs is needed."""
    monkeypatch.setenv("PABAL_TEST_NATS_URL", "nats://joe:secret@host:4222")
    ((given,),) = (parameter.values for parameter in chosen("nats"))
    assert isinstance(given, Given)
    assert ["nats-given"] == names("nats")
    assert "nats://joe:secret@host:4222" == given.url()
    assert "jetstream://joe:secret@host:4222" == given.url("jetstream")
    assert "secret" not in repr(given)
    assert not PROGRAMS["nats-2.15"].wanted
    assert PROGRAMS["valkey-9.1"].wanted


def test_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old versions are got only where every version is tested, and nothing that is left out."""
    assert not PROGRAMS["nats-2.9"].wanted
    monkeypatch.setenv("PABAL_TEST_LEGS", "all")
    assert PROGRAMS["nats-2.9"].wanted
    monkeypatch.setenv("WITHOUT", "nats-2.9")
    assert not PROGRAMS["nats-2.9"].wanted


def test_a_wheel_and_the_system_have_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's program stands first in the PATH and is not taken for the system's."""
    system = tmp_path / "nats-server"
    system.touch(0o755)
    ours = Path(sys.prefix, "bin")
    monkeypatch.setenv("PATH", f"{ours}{os.pathsep}{tmp_path}")
    assert str(system) == PROGRAMS["nats-2.9"].find()
    assert str(ours / "nats-server") == PROGRAMS["nats-2.15"].find()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WITHOUT", "kafka", "WITHOUT names kafka; known are chromium, nats, nats-2.15"),
        ("PABAL_TEST_LEGS", "old", "PABAL_TEST_LEGS is 'old'; it can be 'all' or 'newest'"),
    ],
)
def test_wrong_wishes(name: str, value: str, said: str) -> None:
    """What is misspelt is told before anything is installed or run."""
    done = run(sys.executable, "tests/servers/packages.py", **{name: value})
    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(said)


def test_what_is_missing_is_told() -> None:
    """A program that is not there fails `make test` before any test, and the words say how to get it."""
    done = run(sys.executable, "tests/servers/packages.py", WITHOUT="chromium redis", PABAL_TEST_NATS_2_15="/nowhere")
    assert done.returncode == 1
    assert "left out, as WITHOUT says: chromium, redis-7.0, valkey-9.1\n" == done.stdout
    assert (
        "nats-2.15 is missing. Here: make setup. Or give its path as PABAL_TEST_NATS_2_15, "
        "or leave it out: WITHOUT=nats-2.15.\n"
    ) == done.stderr


INNER = """
import pytest

def test_shared(nats_server): assert nats_server.url("jetstream") == "jetstream://127.0.0.1:1"
def test_private(start_nats): ...
def test_missing(start_redis): start_redis()
@pytest.mark.legs("tls")
def test_left_out(start_redis): ...
"""


def test_what_a_run_says(tmp_path: Path) -> None:
    """Nothing is left out in silence: a missing program fails its tests, a given server's faults are skipped."""
    run = inner_pytest(
        tmp_path,
        INNER,
        "-v",
        WITHOUT="redis-7.0",
        PABAL_TEST_NATS_URL="nats://127.0.0.1:1",
        PABAL_TEST_VALKEY_9_1="/nowhere",
    )
    said = subprocess.run(**run, stdout=subprocess.PIPE, check=False).stdout
    for words in (
        "test_shared[nats-given] PASSED",
        "PABAL_TEST_NATS_URL gives a server that tests may not start, stop or set up",
        "valkey-9.1 is missing. Here: make setup. Or give its path as PABAL_TEST_VALKEY_9_1",
        "WITHOUT=redis-7.0 leaves out every redis with tls",
        "1 failed, 1 passed, 2 skipped",
    ):
        assert words in said


def run(*command: str, **wishes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | wishes,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
