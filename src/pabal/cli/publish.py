"""``pabal publish``: send a message, once or again and again."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from pabal.bus import Bus
from pabal.cli.body import typed
from pabal.cli.lines import receipt_line, received
from pabal.cli.options import AsJson, Body, ChannelName, Url, duration, examples, header
from pabal.cli.printing import say, say_json
from pabal.model.errors import ConfigurationError
from pabal.runtime.plan import UNROUTED


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "pabal publish sqlite:///todo.db channel21 ping",
            """pabal publish sqlite:///todo.db events.todo.newitem '{"item": "buy milk"}' --key user-7""",
            "pabal publish sqlite:///todo.db channel21 ping --count 50 --every 5s",
        )
    )(publish)


def publish(
    url: Url,
    channel: ChannelName,
    body: Body = None,
    *,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Messages of one key keep their order for ordered handlers.")
    ] = None,
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME=VALUE", help="A header; may be given again."),
    ] = None,
    delay: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="DURATION", help="Nobody gets it before, as in 500ms or 5s."),
    ] = None,
    expires: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="DURATION", help="Still undelivered then, it becomes a dead letter."),
    ] = None,
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The message's id instead of a new one.")] = None,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many times.")] = 1,
    every: Annotated[
        float | None, typer.Option(parser=duration, metavar="DURATION", help="The time from one to the next.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Publish a message and tell how many got it.

    A receiver is a group or a listener. What nobody listens to becomes a dead letter.
    """
    if every is not None and count == 1:
        raise ConfigurationError("--every is the time between messages; give --count too, as in --count 50")
    if id is not None and count > 1:
        raise ConfigurationError("--id is one message's; leave out --count, or --id")
    value = typed(body)
    given = dict(header(text) for text in headers or [])

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with Bus(url) as bus:
            (unrouted,) = (line for line in await bus.plan() if line.need == UNROUTED.format("dead-letter"))
            started = loop.time()
            for number in range(count):
                if every is not None:
                    await asyncio.sleep(started + number * every - loop.time())
                receipt = await bus.publish(channel, value, key=key, headers=given, delay=delay, expires=expires, id=id)
                if json:
                    say_json(receipt_line(receipt))
                else:
                    say(received(receipt, unrouted))

    asyncio.run(run())
