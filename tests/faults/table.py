"""The table: what became of every message, a scenario a line."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.faults.account import Account

COUNTS = ("intended", "acknowledged", "refused", "unknown", "handled", "duplicates", "dead")


@dataclass(frozen=True)
class Row:
    """A scenario and what came of it: its account, and what is wrong, or why there is none."""

    name: str
    account: Account | None = None
    wrong: str = ""
    not_run: str = ""
    left_out: str = ""

    @property
    def status(self) -> str:
        said = {"WRONG": self.wrong, "not run": self.not_run, "left out": self.left_out}
        return next((status for status, why in said.items() if why), "ok")

    @property
    def fine(self) -> bool:
        return not self.wrong and not self.not_run


def print_table(console: Console, rows: list[Row]) -> None:
    """Print the counts, then what was seen, what is wrong and what was not run."""
    table = Table("scenario", box=None, pad_edge=False, header_style="bold")
    for name in (*COUNTS, "lost", "unexplained", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(row.name, *_cells(row.account), row.status, style=None if row.fine else "red")
    console.print(table)
    for row in rows:
        if row.account is not None and row.account.seen:
            told = ", ".join(f"{name} {number}" for name, number in sorted(row.account.seen.items()) if number)
            console.print(f"{row.name}: {told}", highlight=False, soft_wrap=True)
        for text in (row.wrong, row.not_run, row.left_out):
            if text:
                console.print(
                    f"{row.name}: {text}",
                    style=None if row.fine else "red",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )


def _cells(account: Account | None) -> list[str]:
    if account is None:
        return [""] * (len(COUNTS) + 3)
    counts = [getattr(account, name) for name in COUNTS]
    return [*map(str, counts), str(len(account.lost)), str(len(account.unexplained)), f"{account.seconds:.0f}"]
