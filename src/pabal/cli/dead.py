"""``pabal dead``: dead letters, to read, to mend, to send again, to discard."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from pabal.cli import edit, redrive
from pabal.cli.choosing import (
    All,
    BoxUrl,
    CauseOption,
    ChannelOption,
    GroupOption,
    Ids,
    ReasonOption,
    Since,
    Until,
    check_chosen,
    choice,
    letters_of,
    none_found,
    size,
)
from pabal.cli.letters import CAUSE_HEADINGS, LETTER_HEADINGS, cause_row, letter_line, letter_row, letter_text
from pabal.cli.options import AsJson, Url, examples
from pabal.cli.printing import PagedTable, complain, counted, note, progress, say, say_json, say_table
from pabal.model.dead import Cause, DeadLetter
from pabal.model.errors import ConfigurationError
from pabal.runtime.choosing import Choice

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class DiscardedLine(msgspec.Struct):
    """How many were discarded, as JSON."""

    discarded: int


def register(program: typer.Typer) -> None:
    """Add the commands."""
    program.add_typer(
        app,
        name="dead",
        help="Dead letters: list, show, edit, redrive or discard them.",
        epilog=examples("pabal dead list sqlite:///todo.db"),
    )


@app.command(
    "list",
    epilog=examples(
        "pabal dead list sqlite:///todo.db",
        "pabal dead list sqlite:///todo.db --reason exhausted --group audit --json",
        "pabal dead list sqlite:///todo.db --by-cause --since 2h",
    ),
)
def list_letters(
    url: Url,
    *,
    by_cause: Annotated[
        bool, typer.Option("--by-cause", help="Count them by reason, channel, group and cause instead.")
    ] = False,
    redriven: Annotated[
        bool, typer.Option("--redriven", help="Those that were redriven instead: the last 10,000 can be read.")
    ] = False,
    reason: ReasonOption = None,
    channel: ChannelOption = None,
    group: GroupOption = None,
    cause: CauseOption = None,
    since: Since = None,
    until: Until = None,
    box: BoxUrl = None,
    json: AsJson = False,
) -> None:
    """List dead letters, oldest first."""
    chosen = choice(reason, channel, group, cause, since, until)
    if by_cause and redriven:
        raise ConfigurationError("--by-cause counts those that are dead still; leave out --redriven, or --by-cause")
    if by_cause:
        _list_causes(url, box, chosen, json=json)
        return

    async def run() -> None:
        table = PagedTable(LETTER_HEADINGS)
        async with letters_of(url, box) as letters:
            async for letter in letters.list(redriven=redriven, **chosen):
                if json:
                    say_json(letter_line(letter))
                else:
                    table.add(letter_row(letter))
        if not table.end() and not json:
            note(none_found(chosen, "redriven letters" if redriven else "dead letters"))

    asyncio.run(run())


def _list_causes(url: str, box: str | None, chosen: Choice, *, json: bool) -> None:
    async def run() -> Sequence[Cause]:
        async with letters_of(url, box) as letters:
            return await letters.causes(**chosen)

    found = asyncio.run(run())
    if json:
        for each in found:
            say_json(each)
    elif found:
        say_table(CAUSE_HEADINGS, map(cause_row, found))
    else:
        note(none_found(chosen))


@app.command(epilog=examples("pabal dead show sqlite:///todo.db 17", "pabal dead show sqlite:///todo.db 17 --json"))
def show(
    url: Url,
    id: Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.", show_default=False)],
    box: BoxUrl = None,
    json: AsJson = False,
) -> None:
    """Show a letter with its body and its history: who failed, when and why, who changed what, when it was redriven.

    One that was redriven can be shown still. One that came back after a redrive shows the letters before it, too.
    """

    async def run() -> DeadLetter:
        async with letters_of(url, box) as letters:
            return await letters.show(id)

    letter = asyncio.run(run())
    if json:
        say_json(letter_line(letter))
    else:
        say(letter_text(letter))


edit.register(app)
redrive.register(app)


@app.command(
    epilog=examples(
        "pabal dead discard sqlite:///todo.db 17",
        "pabal dead discard sqlite:///todo.db --all --yes",
        "pabal dead discard sqlite:///todo.db --reason unrouted --until 7d",
    )
)
def discard(
    url: Url,
    ids: Ids = None,
    *,
    all: All = False,
    reason: ReasonOption = None,
    channel: ChannelOption = None,
    group: GroupOption = None,
    cause: CauseOption = None,
    since: Since = None,
    until: Until = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    box: BoxUrl = None,
    json: AsJson = False,
) -> None:
    """Delete dead letters for good; asks first at a terminal."""
    chosen = choice(reason, channel, group, cause, since, until)
    check_chosen(ids, chosen, all=all)

    async def run() -> tuple[int, int]:
        async with letters_of(url, box) as letters:
            wanted = await size(letters, ids, chosen)
            if wanted and not yes and sys.stdin.isatty():
                typer.confirm(f"Delete {counted(wanted, 'dead letter')} for good?", abort=True, err=True)
            with progress("discarding", wanted) as advance:
                return await letters.discard(ids or None, all=all, progress=advance, **chosen), wanted

    discarded, wanted = asyncio.run(run())
    if json:
        say_json(DiscardedLine(discarded))
    else:
        say(f"discarded {counted(discarded, 'dead letter')}")
    if ids and discarded < wanted:
        complain(f"there was no dead letter for {wanted - discarded} of these ids")
        raise typer.Exit(1)
