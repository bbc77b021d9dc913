"""Type checkers see a wrong value, a wrong handler and a wrong reply, and nothing wrong in what is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pabal import Router
from pabal.runtime.registering import HandlerOptions
from tests.docs.test_blocks import ROOT

USES = Path(__file__).parent / "uses.py"

PYRIGHT = {
    "include": [str(USES)],
    "extraPaths": [str(ROOT / "src")],
    "pythonVersion": "3.11",
    "typeCheckingMode": "strict",
    "enableTypeIgnoreComments": True,
    "reportUnnecessaryTypeIgnoreComment": "error",
    "reportUnusedFunction": "none",  # handlers are registered, nobody calls them
}


@pytest.mark.timeout(300)
def test_mypy(tmp_path: Path) -> None:
    """Mypy --strict finds each error that is marked, of its kind, and no other."""
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), str(USES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("Success: no issues found in 1 source file\n", 0)


@pytest.mark.timeout(300)
def test_pyright(tmp_path: Path) -> None:
    """Pyright in its strict mode finds an error in each line that is marked, and in no other."""
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    command = ["basedpyright", "--project", str(tmp_path), "--pythonpath", sys.executable]
    environment_of_tests = Path(sys.executable).parent
    done = subprocess.run(
        [str(environment_of_tests / command[0]), *command[1:]], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("0 errors, 0 warnings, 0 notes\n", 0)


def test_options_are_those_of_handler() -> None:
    """What type checkers allow as options of a handler is what it takes, so that none is forgotten."""
    import inspect

    taken = set(inspect.signature(Router.handler).parameters) - {"self", "source", "group", "batch", "publishes"}
    assert taken == set(HandlerOptions.__annotations__)
