"""Bar charts as plain SVG: a bar for each figure's median, a line from its least to its most."""

from __future__ import annotations

from html import escape

from benchmarks.measure import Measured
from benchmarks.table import number

_WIDTH = 760
_LABELS = 250
_BARS = 380
_ROW = 26
_HEAD = 58
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'
_OURS, _OTHERS, _INK, _PAPER = "#00897b", "#90a4ae", "#263238", "#ffffff"


def plots(measured: Measured) -> dict[str, str]:
    """A chart for each unit of a workload, by the name of its file."""
    units = list(dict.fromkeys(measured.workload.units.values()))
    names = [f"{measured.workload.name}{f'-{number}' if number else ''}.svg" for number in range(len(units))]
    return {name: _chart(measured, unit) for name, unit in zip(names, units, strict=True)}


def _chart(measured: Measured, unit: str) -> str:
    figures = [name for name, of in measured.workload.units.items() if of == unit]
    spreads = {name: measured.of(name) for name in figures}
    scale = _BARS / (max(spread.most for spread in spreads.values()) or 1.0)
    height = _HEAD + _ROW * len(figures) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" {_FONT} fill="{_INK}">',
        f"<title>{escape(measured.workload.title)}, in {escape(unit)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="{_PAPER}"/>',
        f'<text x="16" y="26" font-size="15" font-weight="600">{escape(measured.workload.title)}</text>',
        f'<text x="16" y="45">{escape(unit)}, median of {len(measured.rounds)} rounds, line from least to most</text>',
    ]
    for row, (name, spread) in enumerate(spreads.items()):
        y = _HEAD + _ROW * row
        end = _LABELS + spread.median * scale
        least, most = _LABELS + spread.least * scale, _LABELS + spread.most * scale
        colour = _OTHERS if _is_other(name) else _OURS
        parts += [
            f'<text x="{_LABELS - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABELS}" y="{y + 3}" width="{end - _LABELS:.1f}" height="16" fill="{colour}"/>',
            f'<path d="M{least:.1f} {y + 11}H{most:.1f}" stroke="{_INK}" stroke-width="1.5"/>',
            f'<text x="{max(end, most) + 8:.1f}" y="{y + 15}">{number(spread.median)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


_OTHER = (
    "raw",
    "asyncio",
    "taskiq",
    "huey",
    "persist-queue",
    "decode",
    "FastStream",
    "CPU, raw",
    "NATS, raw",
    "Redis, raw",
)


def _is_other(name: str) -> bool:
    return name.startswith(_OTHER)
