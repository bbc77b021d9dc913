"""``pabal demo``: the reference app, a to-do list."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from pabal.cli.options import AsJson, examples
from pabal.cli.printing import put, say_json
from pabal.model.errors import ConfigurationError


class ServingLine(msgspec.Struct):
    """Where the page is, as JSON."""

    address: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("pabal demo", "pabal demo --port 8080", "pabal demo --url sqlite:///messages.db"))(demo)


def demo(
    *,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Which transport; by default a SQLite file of the demo's own.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="A loopback address; no other is taken.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="0 is the usual one, or a free one if that is taken.")
    ] = 0,
    json: AsJson = False,
) -> None:
    """Start a to-do list and print its address.

    Page and handlers run in this process, on this machine only, until Ctrl-C.
    """
    try:
        from pabal.examples.todo.server import serve
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the demo needs the module {error.name!r}, which is not installed: pip install 'pabal[demo]'"
        ) from error

    def announce(address: str) -> None:
        if json:
            say_json(ServingLine(address))
        else:
            put(address)

    asyncio.run(serve(url, host=host, port=port, announce=announce))
