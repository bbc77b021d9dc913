"""The figures and verdicts as tables: for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from benchmarks.measure import Measured, Spread, Target


def figures(measured: Sequence[Measured]) -> Table:
    """What was measured."""
    table = Table("workload", "what", title="Figures", title_justify="left")
    for column in ("median", "least", "most"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    for one in measured:
        for name, unit in one.workload.units.items():
            spread = one.of(name)
            table.add_row(
                one.workload.name, name, number(spread.median), number(spread.least), number(spread.most), unit
            )
        table.add_section()
    return table


def verdicts(measured: Sequence[Measured]) -> Table:
    """What was asked, and whether it is reached."""
    table = Table("workload", "what is asked", title="Targets", title_justify="left")
    for column in ("target", "median", "least", "most"):
        table.add_column(column, justify="right")
    table.add_column("reached")
    for one, target, spread in _judged(measured):
        table.add_row(
            one.workload.name,
            target.says,
            limit(target),
            number(spread.median),
            number(spread.least),
            number(spread.most),
            "[green]yes[/]" if target.holds(spread.median) else "[red]NO[/]",
        )
    return table


def markdown(measured: Sequence[Measured]) -> str:
    """Verdicts and figures as they stand in the documentation."""
    lines = [
        "| workload | what is asked | target | median | least to most | reached |",
        "|---|---|--:|--:|--:|---|",
    ]
    lines += [
        f"| {one.workload.name} | {target.says} | {limit(target)} | {number(spread.median)} | "
        f"{number(spread.least)} to {number(spread.most)} | {'yes' if target.holds(spread.median) else '**no**'} |"
        for one, target, spread in _judged(measured)
    ]
    lines += ["", "| workload | what was measured | median | least to most | unit |", "|---|---|--:|--:|---|"]
    for one in measured:
        for name, unit in one.workload.units.items():
            spread = one.of(name)
            lines.append(
                f"| {one.workload.name} | {name} | {number(spread.median)} | "
                f"{number(spread.least)} to {number(spread.most)} | {unit} |"
            )
    return "\n".join(lines)


def record(one: Measured) -> dict[str, Any]:
    """A workload as an object of JSON."""
    return {
        "workload": one.workload.name,
        "title": one.workload.title,
        "figures": {name: {"unit": unit, **_numbers(one.of(name))} for name, unit in one.workload.units.items()},
        "targets": [
            {
                "asked": target.says,
                "at_least": target.at_least,
                "at_most": target.at_most,
                "unit": target.unit,
                **_numbers(spread),
                "reached": target.holds(spread.median),
            }
            for _, target, spread in _judged([one])
        ],
        "rounds": [dict(figures) for figures in one.rounds],
    }


def limit(target: Target) -> str:
    """What is asked, in short."""
    sign, value = ("≥", target.at_least) if target.at_least is not None else ("≤", target.at_most)
    return f"{sign} {value:g} {target.unit}"


def number(value: float) -> str:
    """A number with as many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _judged(measured: Sequence[Measured]) -> Iterator[tuple[Measured, Target, Spread]]:
    for one in measured:
        for target in one.workload.targets:
            yield one, target, one.value(target)


def _numbers(spread: Spread) -> dict[str, float]:
    return {"median": spread.median, "least": spread.least, "most": spread.most}
