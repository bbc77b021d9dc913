"""``pabal dead edit``: mend a dead letter before its redrive."""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from pabal.cli.body import given, holds_json, value_of
from pabal.cli.choosing import BoxUrl, letters_of
from pabal.cli.letters import letter_line
from pabal.cli.options import AsJson, Url, examples, header
from pabal.cli.printing import note, say, say_json
from pabal.model.codec import is_json
from pabal.model.dead import DeadLetter
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            """pabal dead edit sqlite:///todo.db 17 '{"item": "buy milk"}'""",
            "pabal dead edit sqlite:///todo.db 17 --header tenant=blue --remove-header trace",
            "pabal dead edit sqlite:///todo.db 17",
        )
    )(edit)


def edit(
    url: Url,
    id: Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.", show_default=False)],
    body: Annotated[
        str | None,
        typer.Argument(
            metavar="BODY",
            help="The new body; - reads it from standard input. Without it at a terminal, $EDITOR has the old one.",
            show_default=False,
        ),
    ] = None,
    *,
    headers: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Set a header; may be given again.")
    ] = None,
    removed: Annotated[
        list[str] | None, typer.Option("--remove-header", metavar="NAME", help="Remove a header; may be given again.")
    ] = None,
    content_type: Annotated[
        str | None, typer.Option("--content-type", metavar="TYPE", help="The body's media type, if it is another now.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who changes it; by default the user's name.")
    ] = None,
    box: BoxUrl = None,
    json: AsJson = False,
) -> None:
    """Change the body or the headers of a dead letter, to be redriven then.

    The message's id and time stay, and so does its content type: a JSON body has to stay JSON. What was there before
    can be read by `pabal dead show`, before the redrive and after.
    """
    wanted: dict[str, str | None] = dict(header(text) for text in headers or [])
    wanted |= dict.fromkeys(removed or [])

    new: dict[str, Any] = {}
    if body is not None or not (wanted or content_type):
        message = asyncio.run(_dead(url, box, id)).message
        data = given(body) if body is not None else _edited(message)
        if data is None:
            note("nothing was changed")
            return
        _check(data, content_type or message.content_type)
        new["body"] = data

    async def run() -> DeadLetter:
        async with letters_of(url, box) as letters:
            who = _user() if by is None else by
            return await letters.edit(id, headers=wanted, content_type=content_type, by=who, **new)

    letter = asyncio.run(run())
    if json:
        say_json(letter_line(letter))
    else:
        say(f"dead letter {letter.id} is changed; redrive it to have it handled")


async def _dead(url: str, box: str | None, id: str) -> DeadLetter:
    async with letters_of(url, box) as letters:
        letter = await letters.show(id)
    if letter.redriven is not None:
        raise ConfigurationError(f"dead letter {id} was redriven already: it cannot be changed any more")
    return letter


def _check(body: bytes, content_type: str | None) -> None:
    if is_json(content_type) and not holds_json(body):
        raise ConfigurationError(
            f"the body is {content_type}, and what it is to be is no JSON; mend it, or give --content-type text/plain"
        )


def _edited(message: Message) -> bytes | None:
    """The body as a person leaves it in their editor; None: as it was."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigurationError("give BODY, or - to read it from standard input, or the headers to change")
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise ConfigurationError("set EDITOR to the editor to open, as in EDITOR=nano, or give BODY")
    if value_of(message.body, message.content_type) is None:
        raise ConfigurationError("the body is no text; give BODY, or - to read it from standard input")
    with TemporaryDirectory() as folder:
        file = Path(folder) / ("body.json" if is_json(message.content_type) else "body.txt")
        file.write_bytes(message.body)
        _open(shlex.split(editor), file)
        body = file.read_bytes()
    if not message.body.endswith(b"\n"):
        body = body.removesuffix(b"\n")  # editors end the last line
    return None if body == message.body else body


def _open(editor: Sequence[str], file: Path) -> None:
    try:
        code = subprocess.call([*editor, file])  # noqa: S603 - the user's own
    except OSError as error:
        raise ConfigurationError(f"the editor {editor[0]} cannot be started: {error.strerror}") from error
    if code:
        raise ConfigurationError(f"the editor {editor[0]} ended with {code}; nothing was changed")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
