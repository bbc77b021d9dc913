"""The arguments and options that commands share."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from pabal.model.errors import ConfigurationError

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)(?P<unit>ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str | float) -> float:
    """Seconds of ``500ms``, ``5s``, ``2m``, ``1h``, ``1d`` or a plain number of seconds."""
    if isinstance(text, float):
        return text  # an option's default comes this way too
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration; write it as 500ms, 5s, 2m, 1h or a number of seconds")
    return float(found["number"]) * _UNITS[found["unit"]]


def header(text: str) -> tuple[str, str]:
    """The name and value of ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigurationError(f"{text!r} is no header; write it as NAME=VALUE")
    return name, value


def examples(*lines: str) -> str:
    """The end of a command's help."""
    # \b keeps the lines as they are.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


Url = Annotated[
    str, typer.Argument(metavar="URL", help="Which transport, as in sqlite:///todo.db.", show_default=False)
]
BusName = Annotated[
    str, typer.Argument(metavar="MODULE:BUS", help="A module and the name of a bus in it.", show_default=False)
]
ChannelName = Annotated[str, typer.Argument(metavar="CHANNEL", help="As in events.todo.newitem.", show_default=False)]
Pattern = Annotated[
    str, typer.Argument(metavar="CHANNEL", help="A channel, or a pattern as in 'events.>'.", show_default=False)
]
Body = Annotated[
    str | None,
    typer.Argument(
        metavar="BODY",
        help="A JSON object or array is sent as JSON, anything else as text; - reads it from standard input.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
