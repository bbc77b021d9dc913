"""``pabal dead redrive``: send dead letters again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

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
from pabal.cli.letters import redriven_line, redriven_text
from pabal.cli.options import AsJson, Url, duration, examples
from pabal.cli.printing import complain, counted, encoded, note, plain, progress, put
from pabal.model.dead import Redriven
from pabal.runtime.choosing import Choice


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "pabal dead redrive sqlite:///todo.db 17 18",
            "pabal dead redrive sqlite:///todo.db --cause ValueError --since 2h --dry-run",
            "pabal dead redrive sqlite:///todo.db --all --rate 10 --stop-on-failure",
        )
    )(redrive)


class _Told:
    """What was told of each letter, printed as it comes: the last word on it counts."""

    def __init__(self, *, dry: bool, json: bool) -> None:
        self.last: dict[str, Redriven] = {}
        self._dry = dry
        self._json = json

    def tell(self, results: Sequence[Redriven]) -> None:
        # All at once, since a bar is drawn anew below each piece of output.
        put("\n".join(map(self._shown, results)))
        self.last.update((result.id, result) for result in results)

    def _shown(self, result: Redriven) -> str:
        if self._json:
            return encoded(redriven_line(result, dry=self._dry))
        return plain(redriven_text(result, dry=self._dry))

    def failed(self) -> int:
        return sum(result.error is not None for result in self.last.values())

    def came_back(self) -> int:
        return sum(result.became is not None for result in self.last.values())


def redrive(
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; tell what would be sent, and where to.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", help="Send so many a second at most.", show_default=False)
    ] = None,
    stop_on_failure: Annotated[
        bool,
        typer.Option("--stop-on-failure", help="Send one by one, and no more after one that is a dead letter again."),
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            parser=duration, metavar="DURATION", help="How long --stop-on-failure waits for one to be handled."
        ),
    ] = 10.0,
    box: BoxUrl = None,
    json: AsJson = False,
) -> None:
    """Send dead letters again, to the group that failed; the message's id stays.

    What nobody listened to goes to all groups there are now. Fails when any of them stays, or comes back while
    --stop-on-failure waits for it. Interrupted, it leaves the rest as they are.
    """
    chosen = choice(reason, channel, group, cause, since, until)
    check_chosen(ids, chosen, all=all)
    told = _Told(dry=dry_run, json=json)

    async def run() -> int:
        async with letters_of(url, box) as letters:
            total = await size(letters, ids, chosen)
            with progress("redriving", total, slow=rate is not None or stop_on_failure) as advance:

                def step(results: Sequence[Redriven]) -> None:
                    advance(sum(result.id not in told.last for result in results))
                    told.tell(results)

                results = await letters.redrive(
                    ids or None,
                    all=all,
                    dry_run=dry_run,
                    rate=rate,
                    stop_on_failure=stop_on_failure,
                    patience=patience,
                    progress=None if dry_run else step,
                    **chosen,
                )
            if dry_run and results:
                told.tell(results)
        return total

    try:
        total = asyncio.run(run())
    except KeyboardInterrupt:
        complain(f"interrupted: {counted(len(told.last) - told.failed(), 'dead letter')} sent, the others stay")
        raise typer.Exit(1) from None
    _sum_up(told, total, chosen, dry=dry_run)


def _sum_up(told: _Told, total: int, chosen: Choice, *, dry: bool) -> None:
    failed, back, tried = told.failed(), told.came_back(), len(told.last)
    if not tried:
        note(none_found(chosen))
    if failed:
        stayed = f"{counted(failed - back, 'dead letter')} {'would stay' if dry else 'stayed'}" if failed > back else ""
        came_back = f"{counted(back, 'dead letter')} came back" if back else ""
        others = f"{tried - failed} {'would be sent' if dry else 'sent'}"
        left = f"{total - tried} not tried" if total > tried else ""
        complain(", ".join(filter(None, (stayed, came_back, others, left))))
        raise typer.Exit(1)
