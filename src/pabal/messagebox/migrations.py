"""The schema of each dialect: plain SQL files, one a version, applied in order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files


@cache
def migrations(dialect: str) -> Sequence[str]:
    """The SQL of every version of the schema; applying the first n of them makes version n."""
    scripts = [
        entry for entry in files("pabal.messagebox").joinpath("schema", dialect).iterdir() if ".sql" in entry.name
    ]
    return tuple(entry.read_text(encoding="utf-8") for entry in sorted(scripts, key=lambda entry: entry.name))
