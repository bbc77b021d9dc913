"""``pabal groups``: see who reads, and remove a group that nobody needs any more."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pabal.cli.options import AsJson, Pattern, Url, examples
from pabal.cli.printing import age, counted, note, say, say_json, say_table
from pabal.cli.reach import administered
from pabal.model.transport import GroupId, GroupStatus

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class GroupLine(msgspec.Struct):
    """A group as JSON."""

    channel: str
    group: str
    ready: int
    waiting: int
    leased: int
    members: int
    oldest: datetime | None


class RemovedLine(msgspec.Struct):
    """A removed group as JSON: how many messages it held, and whether they became dead letters."""

    channel: str
    group: str
    backlog: int
    discarded: bool


def register(program: typer.Typer) -> None:
    """Add the commands."""
    program.add_typer(
        app,
        name="groups",
        help="List groups with their backlogs, or remove one.",
        epilog=examples("pabal groups list sqlite:///todo.db"),
    )


@app.command(
    "list", epilog=examples("pabal groups list sqlite:///todo.db", "pabal groups list sqlite:///todo.db --json")
)
def list_groups(url: Url, json: AsJson = False) -> None:
    """List every group: how many messages are ready, waiting for their time and leased, and its living members."""

    async def run() -> list[GroupStatus]:
        async with administered(url) as transport:
            return sorted(await transport.groups(), key=lambda group: (group.source, group.name))

    found = asyncio.run(run())
    if json:
        for g in found:
            say_json(GroupLine(g.source, g.name, g.ready, g.waiting, g.leased, g.members, g.oldest))
    elif found:
        say_table(
            ("channel", "group", "ready", "waiting", "leased", "members", "oldest"),
            (
                (
                    g.source,
                    g.name,
                    *map(str, (g.ready, g.waiting, g.leased, g.members)),
                    age(g.oldest) if g.oldest else "",
                )
                for g in found
            ),
        )
    else:
        note("no groups")


@app.command(
    epilog=examples(
        "pabal groups remove sqlite:///todo.db events.todo.newitem audit-handler",
        "pabal groups remove sqlite:///todo.db events.todo.newitem audit-handler --discard",
    )
)
def remove(
    url: Url,
    channel: Pattern,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.", show_default=False)],
    discard: Annotated[bool, typer.Option("--discard", help="Delete its messages instead.")] = False,
    json: AsJson = False,
) -> None:
    """Remove a group that has no living members; its messages become dead letters."""

    async def run() -> int:
        async with administered(url) as transport:
            return await transport.remove(GroupId(channel, group), discard=discard)

    backlog = asyncio.run(run())
    if json:
        say_json(RemovedLine(channel, group, backlog, discard))
    else:
        became = (
            f"deleted {counted(backlog, 'message')}" if discard else f"made {counted(backlog, 'dead letter')} of it"
        )
        say(f"removed group {group} of {channel} and {became}")
