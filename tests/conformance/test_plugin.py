"""The kit under pytest: a test for each promise, and nothing where it is not used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pabal.testing import PROMISES
from pabal.testing.plugin import Conformance

UNUSED = """
import sys

def test_anything(): pass

def test_nothing_was_imported():
    assert [name for name in sys.modules if name.partition(".")[0] == "pabal"] == []
"""
USED = """
import pytest
from pabal.testing import UrlSubject
from pabal.testing.plugin import Conformance

class TestMemory(Conformance):
    @pytest.fixture
    def subject(self):
        return UrlSubject("memory://plugin", virtual=True)

def test_with_a_reason_of_its_own():
    pytest.skip("for a reason of its own")
"""


def run(folder: Path, test: str, *arguments: str) -> str:
    """What pytest prints of one file of tests, with no plugin but its own."""
    (folder / "test_it.py").write_text(test)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1", "COLUMNS": "120"}
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", *arguments, "test_it.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    return done.stdout


def test_each_promise_is_a_test() -> None:
    """A test is called as its promise and says the same; one that the class has itself stays."""

    class Own(Conformance):
        def late_answer_is_no_error(self) -> None:
            """Held in another way."""

    tests = {name: getattr(Own, name) for name in PROMISES}
    own = tests.pop("late_answer_is_no_error")
    assert own.__doc__ == "Held in another way."
    assert {name: PROMISES[name].text for name in tests} == {name: test.__doc__ for name, test in tests.items()}
    assert set(PROMISES).isdisjoint(vars(Conformance))


def test_whoever_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    """Where pabal is installed, a run that does not import it does not import it."""
    (tmp_path / "test_it.py").write_text(UNUSED)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [[], ["-p", "pabal.testing.plugin"]], ids=["by_itself", "by_name"])
def test_what_is_not_asked_is_explained_and_no_skip(tmp_path: Path, arguments: list[str]) -> None:
    """The run's end lists it with the reason and counts it apart, once, however the plugin came in."""
    printed = run(tmp_path, USED, *arguments, "-rs", "-k", "order_is_refused or reason")
    reason = "order_is_refused: needs order not declared; the transport declares order=Order.KEY"
    assert printed.count(reason) == 1
    assert "1 skipped" in printed
    assert "1 not asked" in printed
    assert "for a reason of its own" in printed
