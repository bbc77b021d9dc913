"""What commands print: JSON lines for programs, text for people."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

_AT_ONCE = 100

# What would steer a terminal, or turn its text around: bodies and headers come from anybody.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_PAGE = 200
"""Rows of a table that are printed together."""


def say(text: str) -> None:
    """Print a line for a person, at once."""
    put(plain(text))


def say_json(value: object) -> None:
    """Print a value as one line of JSON, at once."""
    put(encoded(value))


def encoded(value: object) -> str:
    """A value as one line of JSON."""
    return msgspec.json.encode(value).decode()


def put(text: str) -> None:
    """Write text and a line's end to standard output, at once; raises OSError."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def drop_output() -> None:
    """Forget what standard output does not take, so that it is no second error at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Tell a person something beside the output, on standard error; what nobody takes is let go."""
    with suppress(OSError):
        print(plain(text), file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Tell what went wrong, on standard error."""
    note(f"pabal: {text}")


def plain(text: str) -> str:
    """`text` with what would steer a terminal written out."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """As in ``1 receiver`` and ``2 receivers``; `nouns` where the plural is no mere s."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def age(then: datetime) -> str:
    """How long ago that was, in its largest unit."""
    seconds = max(0.0, time.time() - then.timestamp())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"


def console(*, stderr: bool = False) -> Console:
    """Rich's console; as wide as the lines are when it writes to no terminal, so that no id is cut."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=10_000)


@contextmanager
def progress(what: str, total: int, *, slow: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar where a person watches and it is not over at once; yields what tells it of so many more."""
    if not sys.stderr.isatty() or not (slow or total > _AT_ONCE):
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)


def say_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table; its first column is never cut."""
    table = PagedTable(headings)
    for row in rows:
        table.add(row)
    table.end()


class PagedTable:
    """A table that is printed a page at a time, so that one of any length needs no more memory than a page.

    Its columns are as wide as the widest cell so far, where that fits; the first is never cut.
    """

    def __init__(self, headings: Iterable[str]) -> None:
        self._headings = tuple(headings)
        self._widths = [0] * len(self._headings)
        self._page: list[list[str]] = []
        self._begun = False

    def add(self, row: Iterable[str]) -> None:
        """Add a row; a page that is full is printed."""
        self._page.append([plain(cell.replace("\n", " ")) for cell in row])
        if len(self._page) == _PAGE:
            self._print()

    def end(self) -> bool:
        """Print what is left; returns whether there was any row at all."""
        if self._page:
            self._print()
        return self._begun

    def _print(self) -> None:
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        lines = self._page if self._begun else [[*self._headings], *self._page]
        self._widths = [
            max(width, *map(cell_len, column))
            for width, column in zip(self._widths, zip(*lines, strict=True), strict=True)
        ]
        shown = console()
        fits = sum(self._widths) + 2 * len(self._widths) <= shown.width
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=not self._begun)
        for number, (heading, width) in enumerate(zip(self._headings, self._widths, strict=True)):
            table.add_column(heading, overflow="fold", no_wrap=number == 0, min_width=width if fits else None)
        for row in self._page:
            table.add_row(*map(Text, row))  # Text, not markup: what is shown may have brackets in it
        shown.print(table)
        self._page.clear()
        self._begun = True
