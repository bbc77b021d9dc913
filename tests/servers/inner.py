"""A pytest run of its own, on a test file made by a test, with the fixtures for servers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def inner_pytest(folder: Path, text: str, *arguments: str, **wishes: str) -> dict[str, Any]:
    """What `subprocess` takes to run it; `wishes` are its environment, cleared of those for the run around it."""
    (folder / "test_inner.py").write_text(text)
    own = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", str(folder), str(folder)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PABAL_TEST_")}
    return {
        "args": [*own, "-p", "tests.servers.plugin", "-p", "no:cacheprovider", *arguments],
        "cwd": ROOT,
        "env": ours | {"WITHOUT": "", "COLUMNS": "250"} | wishes,
        "text": True,
    }
