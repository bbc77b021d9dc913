"""The explorer under pytest: a fixture, and a command that shows a run again."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

TESTS = """
from pabal import Bus

def shop(run):
    bus = Bus("sqlite:///shop.db")

    @bus.handler("orders.placed", group="shipping")
    async def ship(item: str) -> None:
        run.state.append(item)

    return bus

async def order(run):
    await run.bus.publish("orders.placed", "tea")

def sent(run):
    assert "tea" in run.state

def sent_once(run):
    assert ["tea"] == run.state

def test_sent(explore):
    explore(shop, order, sent, state=list, examples=10, seed=1, on="sqlite")

def test_sent_once(explore):
    explore(shop, order, sent_once, state=list)

def test_the_clock(virtual_clock):
    before = virtual_clock.time()
    virtual_clock.advance(60.0)
    assert 60.0 == virtual_clock.time() - before
"""


def run(folder: Path, *arguments: str) -> str:
    """What pytest prints."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def test_a_test_explores_by_one_call(tmp_path: Path) -> None:
    """What breaks fails with the report, and the printed command shows that one run again, and no other."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["pabal.testing.plugin"]\n')
    (tmp_path / "test_shop.py").write_text(TESTS)
    printed = run(tmp_path)
    assert "1 failed, 2 passed" in printed
    assert "crash at point 2: process 1: shipping acknowledges m1, the store does not know" in printed
    assert "assert ['tea'] == ['tea', 'tea']" in printed

    (command,) = re.findall(r"^pytest (.*)$", printed, re.MULTILINE)
    assert ["test_shop.py::test_sent_once", "--pabal-plan", "crash@2"] == shlex.split(command)
    assert "1 failed" in run(tmp_path, *shlex.split(command))
    assert "1 passed" in run(tmp_path, "test_shop.py::test_sent_once", "--pabal-plan", "crash@1")
