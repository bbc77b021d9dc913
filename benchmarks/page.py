"""Writing charts and tables into the documentation, so that its figures are those of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.measure import Measured
from benchmarks.plot import plots
from benchmarks.table import markdown

_PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
_CHARTS = _PAGE.parent / "performance"
_BEGIN, _END = "<!-- figures of a run -->", "<!-- end of the figures -->"


def write_page(measured: Sequence[Measured], machine: Machine, command: str, day: str) -> Path:
    """Replace the figures between the page's two marks, and all charts; returns the page."""
    _CHARTS.mkdir(exist_ok=True)
    for old in _CHARTS.glob("*.svg"):
        old.unlink()
    images = []
    for one in measured:
        for name, chart in plots(one).items():
            (_CHARTS / name).write_text(chart)
            images.append(f"![{one.workload.title}](performance/{name})")
    rounds = len(measured[0].rounds)
    facts = f"Measured {day} by `{command}`, {rounds} rounds. Machine: {machine}."
    page = _PAGE.read_text()
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    parts = [before + _BEGIN, facts, markdown(measured), *images, _END + after]
    _PAGE.write_text("\n\n".join(parts))
    return _PAGE
