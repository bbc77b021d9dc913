"""``pabal dead``: dead letters, to read, to send again, to discard."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

import msgspec
import typer

from pabal.bus import Bus
from pabal.cli.lines import LETTER_HEADINGS, letter_line, letter_row, letter_text
from pabal.cli.options import AsJson, Ids, Url, examples
from pabal.cli.printing import complain, console, counted, encoded, note, plain, put, say, say_json, say_table
from pabal.model.dead import DeadLetter, Redriven
from pabal.model.errors import ConfigurationError
from pabal.model.outcome import Reason
from pabal.runtime.dead import DeadLetters

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_BATCH = 100

All = Annotated[bool, typer.Option("--all", help="All that there are now.")]


class DiscardedLine(msgspec.Struct):
    """How many were discarded, as JSON."""

    discarded: int


def register(program: typer.Typer) -> None:
    """Add the commands."""
    program.add_typer(
        app,
        name="dead",
        help="Dead letters: list, show, redrive or discard them.",
        epilog=examples("pabal dead list sqlite:///todo.db"),
    )


@app.command(
    "list",
    epilog=examples(
        "pabal dead list sqlite:///todo.db", "pabal dead list sqlite:///todo.db --reason exhausted --group audit --json"
    ),
)
def list_letters(
    url: Url,
    channel: Annotated[str | None, typer.Option(metavar="CHANNEL", help="Only of this channel.")] = None,
    group: Annotated[str | None, typer.Option(metavar="GROUP", help="Only of this group.")] = None,
    reason: Annotated[Reason | None, typer.Option(metavar="REASON", help="Only of this reason.")] = None,
    json: AsJson = False,
) -> None:
    """List dead letters, oldest first."""

    async def run() -> list[DeadLetter]:
        found = []
        async with _box(url) as box:
            async for letter in box.list(channel=channel, group=group, reason=reason):
                if json:
                    say_json(letter_line(letter))
                else:
                    found.append(letter)
        return found

    found = asyncio.run(run())
    if found:
        say_table(LETTER_HEADINGS, map(letter_row, found))
    elif not json:
        note("no dead letters")


@app.command(epilog=examples("pabal dead show sqlite:///todo.db 17", "pabal dead show sqlite:///todo.db 17 --json"))
def show(
    url: Url,
    id: Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.", show_default=False)],
    json: AsJson = False,
) -> None:
    """Show a dead letter with its body and the traceback of every failed attempt that was kept."""

    async def run() -> DeadLetter:
        async with _box(url) as box:
            return await box.show(id)

    letter = asyncio.run(run())
    if json:
        say_json(letter_line(letter))
    else:
        put(letter_text(letter))


@app.command(
    epilog=examples("pabal dead redrive sqlite:///todo.db 17 18", "pabal dead redrive sqlite:///todo.db --all")
)
def redrive(url: Url, ids: Ids = None, all: All = False, json: AsJson = False) -> None:
    """Send dead letters again, to the group that failed; the message's id stays.

    What nobody listened to goes to all groups there are now. Fails when any of them stays.
    """
    _check_chosen(ids, all=all)

    async def run() -> tuple[int, int]:
        sent, stay = 0, 0
        async with _box(url) as box:
            chosen = await _chosen(box, ids)
            with _progress("redriving", len(chosen)) as advance:
                for batch in _batches(chosen):
                    results = await box.redrive(batch)
                    stayed = sum(redriven.error is not None for redriven in results)
                    stay, sent = stay + stayed, sent + len(results) - stayed
                    # A batch at a time, since a bar is drawn anew below each piece of output.
                    put("\n".join(encoded(redriven) if json else plain(_became(redriven)) for redriven in results))
                    advance(len(batch))
        return sent, stay

    sent, stay = asyncio.run(run())
    if stay:
        complain(f"{counted(stay, 'dead letter')} stayed, {sent} sent")
        raise typer.Exit(1)
    if not sent:
        note("no dead letters")


@app.command(
    epilog=examples("pabal dead discard sqlite:///todo.db 17", "pabal dead discard sqlite:///todo.db --all --yes")
)
def discard(
    url: Url,
    ids: Ids = None,
    all: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: AsJson = False,
) -> None:
    """Delete dead letters for good; asks first at a terminal."""
    _check_chosen(ids, all=all)

    async def run() -> tuple[int, int]:
        discarded = 0
        async with _box(url) as box:
            chosen = await _chosen(box, ids)
            if chosen and not yes and sys.stdin.isatty():
                typer.confirm(f"Delete {counted(len(chosen), 'dead letter')} for good?", abort=True, err=True)
            with _progress("discarding", len(chosen)) as advance:
                for batch in _batches(chosen):
                    discarded += await box.discard(batch)
                    advance(len(batch))
        return discarded, len(chosen)

    discarded, wanted = asyncio.run(run())
    if json:
        say_json(DiscardedLine(discarded))
    else:
        say(f"discarded {counted(discarded, 'dead letter')}")
    if discarded < wanted and ids:
        complain(f"there was no dead letter for {wanted - discarded} of these ids")
        raise typer.Exit(1)


@asynccontextmanager
async def _box(url: str) -> AsyncIterator[DeadLetters]:
    async with Bus(url) as bus:
        yield bus.dead_letters


def _check_chosen(ids: Sequence[str] | None, *, all: bool) -> None:
    if bool(ids) == all:
        raise ConfigurationError("give the ids of dead letters, or --all")


async def _chosen(box: DeadLetters, ids: Sequence[str] | None) -> list[str]:
    return list(dict.fromkeys(ids)) if ids else [letter.id async for letter in box.list()]


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]


def _became(redriven: Redriven) -> str:
    if redriven.error is not None:
        return f"{redriven.id} stays: {redriven.error}"
    if redriven.receivers is None:
        return f"{redriven.id} sent"
    return f"{redriven.id} sent to {counted(redriven.receivers, 'receiver')}"


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[float], None]]:
    """A progress bar where a person watches and it is not over at once."""
    if total <= _BATCH or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda number: progress.advance(task, number)
