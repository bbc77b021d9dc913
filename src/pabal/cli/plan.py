"""``pabal plan``: what a bus's transport keeps, what pabal adds, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
import typer

from pabal.cli.finding import find_bus
from pabal.cli.options import AsJson, BusName, examples
from pabal.cli.printing import complain, counted, note, say_json, say_table
from pabal.runtime.plan import Line


class PlanLine(msgspec.Struct):
    """One need and its verdict as JSON; `way_out` is null where nothing is refused."""

    bus: str
    who: str
    need: str
    verdict: str
    reason: str
    way_out: str | None
    stops: bool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("pabal plan todo.app:bus", "pabal plan todo.app:bus --offline --json"))(plan)


def plan(
    bus: BusName,
    offline: Annotated[
        bool, typer.Option("--offline", help="Tell what the transport can do at best, without connecting.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Tell what a bus and its handlers need, and what keeps it.

    Native is what the transport does itself, emulated what pabal adds, refused what nothing keeps. The server is asked
    and nothing is subscribed. Fails when the bus would refuse to start.
    """
    found = find_bus(bus)
    lines = asyncio.run(found.plan(offline=offline))
    if json:
        for line in lines:
            say_json(PlanLine(bus, line.who, line.need, line.verdict, line.reason, line.way_out or None, line.stops))
    else:
        say_table(("who", "need", "verdict", "why"), _rows(lines))
        if offline:
            note("this is the best of servers; without --offline the one that is there is asked")
    stopping = sum(line.stops for line in lines)
    if stopping:
        complain(f"{bus} does not start on {found!r}: {counted(stopping, 'need')} refused")
        raise typer.Exit(1)


def _rows(lines: Sequence[Line]) -> Iterator[tuple[str, ...]]:
    """A row a line; whose lines belong together is named once."""
    before = None
    for line in lines:
        verdict = line.verdict if line.asked or line.verdict != "refused" else "refused if used"
        why = f"{line.reason}; {line.way_out}" if line.way_out else line.reason
        yield line.who if line.who != before else "", line.need, verdict, why
        before = line.who
