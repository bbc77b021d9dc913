"""``pabal request``: ask, and print the answer."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from pabal.bus import Bus
from pabal.cli.body import content_of, readable, typed
from pabal.cli.lines import AnswerLine, body_fields
from pabal.cli.options import AsJson, Body, ChannelName, Url, duration, examples
from pabal.cli.printing import say, say_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "pabal request sqlite:///todo.db todo.count '{}'",
            "pabal request sqlite:///todo.db todo.count '{}' --timeout 500ms --json",
        )
    )(request)


def request(
    url: Url,
    channel: ChannelName,
    body: Body = None,
    timeout: Annotated[
        float, typer.Option(parser=duration, metavar="DURATION", help="How long to wait for the answer.")
    ] = 10.0,
    json: AsJson = False,
) -> None:
    """Ask on a channel and print the first answer.

    Fails when nobody is there to answer, when no answer comes in time and when the answering handler fails.
    """
    value = typed(body)

    async def run() -> object:
        async with Bus(url) as bus:
            return await bus.request(channel, value, timeout=timeout)

    answer, content_type = content_of(asyncio.run(run()))
    if json:
        say_json(AnswerLine(**body_fields(answer, content_type)))
    else:
        say(readable(answer, content_type))
