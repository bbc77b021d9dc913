"""The transport of how-to/add-a-transport.md, installed as a package of another author."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.test_blocks import ROOT

PAGE = (ROOT / "docs" / "how-to" / "add-a-transport.md").read_text()
*STEPS, _, TESTS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(PROJECT,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
MOST_LINES = 290


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What finds the page's package installed in `tmp_path`."""
    (tmp_path / "pabal_files.py").write_text("\n\n".join(STEPS))
    (tmp_path / "test_files.py").write_text(TESTS)
    metadata = tmp_path / "pabal_files-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pabal-files\nVersion: 1.0\n")
    points = tomllib.loads(PROJECT)["project"]["entry-points"]["pabal.transports"]
    lines = [f"{name} = {where}" for name, where in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pabal.transports]", *lines]))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": str(tmp_path), "PATH": path, "NO_COLOR": "1", "COLUMNS": "120"}


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_transport_is_a_page_long() -> None:
    """Whoever reads it sees all of a transport at once."""
    code = [line for block in STEPS for line in block.splitlines() if line.strip()]
    assert len(code) <= MOST_LINES


def test_the_installed_transport_is_held_to_its_promises(tmp_path: Path, environment: dict[str, str]) -> None:
    """The page's test class finds the scheme by its entry point, and says why a promise is not asked."""
    command = [sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", "-k", "lease or group"]
    done = run([*command, "test_files.py"], tmp_path, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "= promises that are not asked =" in done.stdout
    assert "group_is_refused: needs groups not declared; the transport declares groups=True" in done.stdout
    assert "skipped" not in done.stdout


def test_a_broken_promise_is_told_as_the_page_shows(tmp_path: Path, environment: dict[str, str]) -> None:
    """Who spoils the transport as the page says is told what the page shows."""
    module = tmp_path / "pabal_files.py"
    assert ", attempt=ours.attempt - 1" in module.read_text()
    module.write_text(module.read_text().replace(", attempt=ours.attempt - 1", ""))
    command = [sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider"]
    done = run([*command, "test_files.py::TestFiles::closing_returns_the_unsettled"], tmp_path, environment)
    (shown,) = re.findall(r"^```text\n(PromiseBroken: .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert done.returncode == 1
    assert " ".join(shown.split()) in done.stdout


def test_the_command_line_takes_the_new_url(tmp_path: Path, environment: dict[str, str]) -> None:
    """What nobody takes is a dead letter in the folder, and the command line lists it."""
    url = f"files://{tmp_path}/spool"
    published = run(["pabal", "publish", url, "events.todo.newitem", '{"item": "buy milk"}'], tmp_path, environment)
    assert (0, "") == (published.returncode, published.stderr)
    listed = run(["pabal", "dead", "list", url], tmp_path, environment)
    assert "unrouted" in listed.stdout
    assert 1 == len(list((tmp_path / "spool" / "dead").iterdir()))
