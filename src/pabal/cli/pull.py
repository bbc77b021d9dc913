"""``pabal pull``: take what is there, by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from pabal.bus import Bus
from pabal.cli.lines import message_line, message_text
from pabal.cli.options import AsJson, Pattern, Url, duration, examples
from pabal.cli.printing import complain, counted, note, put, say_json
from pabal.model.outcome import Settlement
from pabal.runtime.consumer import Consumer, Pulled


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "pabal pull sqlite:///todo.db events.todo.newitem --group save-handler",
            "pabal pull sqlite:///todo.db events.todo.newitem --group save-handler --max 10 --wait 5s --ack --json",
        )
    )(pull)


def pull(
    url: Url,
    channel: Pattern,
    group: Annotated[str, typer.Option(metavar="GROUP", help="Whose messages; made if it does not exist.")],
    max: Annotated[int, typer.Option(min=1, metavar="N", help="At most how many.")] = 1,
    wait: Annotated[
        float, typer.Option(parser=duration, metavar="DURATION", help="How long to wait for the first.")
    ] = 1.0,
    ack: Annotated[bool, typer.Option("--ack", help="Take them for good, once printed.")] = False,
    json: AsJson = False,
) -> None:
    """Print messages that are ready in a group.

    Without --ack all of them go back to it.
    """

    async def run() -> bool:
        async with Bus(url) as bus, bus.consumer(channel, group=group, type=bytes) as consumer:
            pulled = await _take(consumer, max, wait)
            for delivery in pulled:
                if json:
                    say_json(message_line(delivery.message, group=group, attempt=delivery.attempt))
                else:
                    put(message_text(delivery.message, attempt=delivery.attempt))
            if not pulled:
                note(f"nothing is ready in group {group} of {channel}")
            elif not ack:
                note(f"gave {counted(len(pulled), 'message')} back; --ack takes what is printed")
            return not ack or await _ack(pulled)

    if not asyncio.run(run()):
        raise typer.Exit(1)


async def _take(consumer: Consumer[bytes], most: int, wait: float) -> list[Pulled[bytes]]:
    pulled = await consumer.pull(max=most, wait=wait)
    while pulled and len(pulled) < most:
        more = await consumer.pull(max=most - len(pulled))
        if not more:
            break
        pulled += more
    return pulled


async def _ack(pulled: list[Pulled[bytes]]) -> bool:
    settlements = [await delivery.ack() for delivery in pulled]
    missed = len(settlements) - settlements.count(Settlement.DONE)
    if missed:
        complain(f"{counted(missed, 'message')} could not be acked and may come again")
    return not missed
