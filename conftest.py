"""The examples of README.md and docs/ are tests: every python and bash block of a document runs, in order.

A document has one namespace and one temporary working directory. Blocks in other languages, console for one,
are not run; a block is left out only by ``<!--- skip: next "reason" -->`` before it.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

pytest_plugins = ["tests.servers.plugin"]


def enter(namespace: dict[str, Any]) -> None:
    namespace["__name__"] = "__main__"
    namespace["_home"], namespace["_folder"] = Path.cwd(), TemporaryDirectory()
    os.chdir(namespace["_folder"].name)


def leave(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_home"])
    namespace["_folder"].cleanup()


def run_bash(example: Example) -> None:
    """Run a block with this environment's commands first in the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = ["bash", "-euo", "pipefail", "-c", str(example.parsed)]
    done = subprocess.run(
        script,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Show the whole traceback of what was raised outside an example, as for an unclosed connection.

    Sybil looks for the example's own frame, and where there is none it would end the run.
    """
    if isinstance(item, SybilItem):
        shorten = item._traceback_filter

        def shorten_if_possible(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
            try:
                return shorten(excinfo)
            except IndexError:
                return excinfo.traceback

        item._traceback_filter = shorten_if_possible  # type: ignore[method-assign]


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("bash", run_bash), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    setup=enter,
    teardown=leave,
).pytest()
