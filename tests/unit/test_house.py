"""The rules of the house that no linter knows."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "pabal"
LONGEST = 380


def imports(path: Path) -> Iterator[str]:
    """Every name that a file imports, in full."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_a_file_does_one_thing() -> None:
    """A file that has grown long has a second thing in it."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


def test_importing_pabal_is_light() -> None:
    """A worker pays neither for the command line nor for the extras it does not use."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import pabal, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {"typer", "rich", "pydantic", "sqlalchemy", "starlette", "uvicorn", "jinja2", "opentelemetry"}
    assert heavy.intersection(loaded) == set()


def test_types_are_published() -> None:
    """Without the marker a type checker takes everything of pabal for Any."""
    assert (SOURCE / "py.typed").is_file()


def test_examples_use_what_users_use() -> None:
    """The reference app shows the public API, so it reaches for nothing private."""
    used = {name for path in (SOURCE / "examples").rglob("*.py") for name in imports(path)}
    assert {name for name in used if name.startswith("pabal") and "._" in name} == set()


def test_every_test_says_what_it_holds() -> None:
    """A failing test is understood from its docstring, without reading its code."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []
