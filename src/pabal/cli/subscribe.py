"""``pabal subscribe``: print messages as they come."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from pabal.bus import Bus
from pabal.cli.ending import on_signals
from pabal.cli.lines import message_line, message_text
from pabal.cli.options import AsJson, Pattern, Url, examples
from pabal.cli.printing import drop_output, encoded, note, put
from pabal.model.message import Message
from pabal.runtime.context import Context
from pabal.runtime.crew import Crew

_GRACE = 2.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "pabal subscribe sqlite:///todo.db 'events.>'",
            "pabal subscribe sqlite:///todo.db channel21 --group printer --json",
            "pabal subscribe sqlite:///todo.db channel21 --group printer --count 1",
        )
    )(subscribe)


def subscribe(
    url: Url,
    channel: Pattern,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP", help="Share the channel's messages with the other members; without it, get a copy of each."
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many messages.")] = None,
    json: AsJson = False,
) -> None:
    """Print a channel's messages as they come.

    It runs until Ctrl-C. As a member of a group it takes each message once it is printed, and what it has not printed
    stays in the group.
    """
    asyncio.run(_Printer(group, count, json=json).run(url, channel))


class _Printer:
    """Prints deliveries one after another, until there were enough or the output takes no more."""

    def __init__(self, group: str | None, count: int | None, *, json: bool) -> None:
        self._group = group
        self._left = count
        self._json = json
        self._crew: Crew | None = None
        self._writing = False
        self._failed: OSError | None = None

    async def run(self, url: str, channel: str) -> None:
        """Print until a signal or the last message, and drain."""
        bus = Bus(url, grace=_GRACE)
        if self._group is None:
            bus.listen(channel)(self.handle)
        else:
            bus.handler(channel, group=self._group, delivery="at-most-once")(self.handle)
        async with bus.running() as crew:
            self._crew = crew
            with on_signals(crew.stop):
                note(f"subscribed to {channel}" + (f" as a member of group {self._group}" if self._group else ""))
                await crew.wait()
                await crew.drain()
        if self._writing:
            os._exit(0)  # whoever holds the other end of the output does not read it
        if self._failed is not None:
            drop_output()
            if not isinstance(self._failed, BrokenPipeError):
                raise self._failed

    async def handle(self, message: Message, context: Context) -> None:
        """Print one delivery; what comes after the last one waits here until it is given back."""
        if self._left == 0 or self._failed is not None:
            await asyncio.get_running_loop().create_future()
        if self._json:
            text = encoded(message_line(message, group=context.group, attempt=context.attempt))
        else:
            text = message_text(message, attempt=context.attempt)
        self._writing = True
        # In a thread: while nobody reads the output, leases are still to be extended and signals to be heard.
        await asyncio.to_thread(self._write, text)
        if self._failed is not None:
            self._end()
            await asyncio.get_running_loop().create_future()
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._end()

    handle.__qualname__ = "pabal subscribe"  # what is refused or logged is about the command

    def _write(self, text: str) -> None:
        try:
            put(text)
        except OSError as error:
            self._failed = error
        self._writing = False

    def _end(self) -> None:
        assert self._crew is not None  # noqa: S101 - it runs this handler
        # Twice is at once: there is nothing to wait for, since what is left was not printed.
        self._crew.stop()
        self._crew.stop()
