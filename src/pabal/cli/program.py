"""The program ``pabal``: its commands, and how an error becomes a line and an exit code."""

from __future__ import annotations

import io
import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from pabal.cli import dead, demo, doctor, groups, plan, publish, pull, request, subscribe, worker
from pabal.cli.printing import complain
from pabal.model.errors import CapabilityError, ConfigurationError, PabalError

FAILED = 1
WRONG_USAGE = 2

app = typer.Typer(
    name="pabal",
    help="Asynchronous messaging in which no message is lost in silence.",
    epilog="URL says which transport, as in sqlite:///todo.db. `pabal COMMAND --help` has examples.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (demo, worker, plan, publish, subscribe, request, pull, groups, dead, doctor):
    command.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pabal {version('pabal')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; before or after the command.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Declare the options of every command; `main` takes --debug out wherever it stands."""


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit: 0 done, 1 failed, 2 wrong usage."""
    arguments, debug = _without_debug(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args=arguments, prog_name="pabal")
    except Exception as error:  # noqa: BLE001 - the last place: a person gets a line, and the traceback when asked for
        if debug:
            traceback.print_exception(error)
        complain(_line(error))
        sys.exit(WRONG_USAGE if isinstance(error, ConfigurationError | CapabilityError) else FAILED)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    before = [argument for argument in arguments[:end] if argument != "--debug"]
    return before + arguments[end:], len(before) < end


def _line(error: Exception) -> str:
    if isinstance(error, PabalError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error} (--debug shows where)"
