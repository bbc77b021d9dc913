"""Play all scenarios and print what became of every message: `make faults`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import traceback
from contextlib import nullcontext
from urllib.parse import urlsplit

from rich.console import Console

from pabal import PabalError
from tests.faults.scenario import Broken, Scenario, perform
from tests.faults.scenarios import SCENARIOS
from tests.faults.subject import NotRun, Setting, Subject
from tests.faults.subjects import SUBJECTS
from tests.faults.table import Row, print_table
from tests.servers.packages import left_out


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Kill, freeze and starve the processes of a transport, and look for what is lost.",
        epilog="\n".join(f"{each.name:18} {each.what}" for each in SCENARIOS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [each.name for each in SCENARIOS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="these scenarios alone")
    parser.add_argument(
        "--on",
        nargs="+",
        choices=SUBJECTS,
        default=list(SUBJECTS),
        metavar="SUBJECT",
        help=f"of {', '.join(SUBJECTS)} these alone",
    )
    parser.add_argument("--url", help="instead of those, a transport as it is there")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what every random choice follows from")
    parser.add_argument("--times", type=int, help="do each harm so many times")
    return parser.parse_args()


async def run(subject: str, scenario: Scenario, setting: Setting, *, times: int, seed: str) -> Row | None:
    """Play one; None: it does not fit what is under test."""
    name = f"{subject} {scenario.name}"
    try:
        account = await perform(scenario, setting, times=times, seed=seed, lasting=scenario.lasting)
    except NotRun as reason:
        return Row(name, not_run=str(reason))
    except Broken as broken:
        return Row(name, broken.account, wrong=str(broken))
    except (AssertionError, OSError, PabalError, ExceptionGroup) as error:
        return Row(name, wrong="".join(traceback.format_exception(error)))
    return None if account is None else Row(name, account)


async def main() -> int:
    """Returns the exit code: 1 when anything is lost, unexplained, or not run without WITHOUT saying so."""
    options = arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        without = left_out()
    except ValueError as error:
        console.print(str(error), markup=False)
        return 2
    subjects = {name: SUBJECTS[name] for name in options.on}
    if options.url is not None:
        subjects = {urlsplit(options.url).scheme: lambda _: nullcontext(Subject(options.url))}
    console.print(f"seed {options.seed}", highlight=False)
    rows: list[Row] = []
    for name, setting in subjects.items():
        version = name.rpartition("@")[2]
        if version in without:
            rows.append(Row(name, left_out=f"as WITHOUT says: {version}"))
            continue
        for scenario in SCENARIOS:
            if scenario.name not in options.only or scenario.subject not in (None, name):
                continue
            if scenario.needs in without:
                rows.append(Row(f"{name} {scenario.name}", left_out=f"as WITHOUT says: {scenario.needs}"))
                continue
            row = await run(name, scenario, setting, times=options.times or scenario.full, seed=options.seed)
            if row is not None:
                console.print(f"{row.name}: {row.status}", highlight=False)
                rows.append(row)
    print_table(console, rows)
    return 0 if all(row.fine for row in rows) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
