"""``pabal worker``: run the handlers of buses until a signal."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any

import msgspec
import typer
from msgspec import UNSET, UnsetType

from pabal.bus import Bus
from pabal.cli.ending import leave_threads, on_signals
from pabal.cli.finding import find_bus
from pabal.cli.options import AsJson, examples
from pabal.cli.printing import complain, counted, note, say, say_json
from pabal.cli.processes import WorkerCommand
from pabal.cli.reloading import reloading
from pabal.cli.supervising import supervise
from pabal.cli.supervision import Supervision, supervised
from pabal.model.errors import ConfigurationError
from pabal.runtime.crew import Crew
from pabal.runtime.reports import Counters, Unfinished


class RunningLine(msgspec.Struct, tag_field="event", tag="running"):
    """A bus whose handlers are all subscribed, as JSON; `process` is there when it is one of several."""

    bus: str
    handlers: list[str]
    process: int | UnsetType = UNSET


class DrainedLine(msgspec.Struct, tag_field="event", tag="drained"):
    """A bus's drain report, as JSON."""

    bus: str
    seconds: float
    handlers: dict[str, Counters]
    unfinished: tuple[Unfinished, ...]
    process: int | UnsetType = UNSET


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "pabal worker todo.app:bus",
            "pabal worker todo.app:bus billing:bus --json",
            "pabal worker todo.app:bus --processes 4",
            "pabal worker todo.app:bus --reload",
        )
    )(worker)


def worker(
    buses: Annotated[
        list[str],
        typer.Argument(metavar="MODULE:BUS...", help="A module and the name of a bus in it.", show_default=False),
    ],
    *,
    processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Run N processes, and replace each that dies.")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a .py file below the current directory changes.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Run the handlers of one or more buses.

    It runs until SIGTERM or Ctrl-C, then drains and reports; a second signal ends it at once. Modules are looked for in
    the current directory first. Fails when a message was left unfinished or a handler stopped by itself.
    """
    supervision = supervised()
    if supervision is None and (processes is not None or reload):
        command = WorkerCommand(buses, json=json, debug="--debug" in sys.argv, numbered=processes is not None)
        run = reloading(command, processes or 1) if reload else supervise(command, processes or 1)
        raise typer.Exit(asyncio.run(run))
    _log_to_stderr()
    found = {where: find_bus(where) for where in buses}
    try:
        fine = asyncio.run(_run(found, json=json, supervision=supervision))
    except SystemExit:  # a handler's: its 2 would mean that the worker could not start, its 0 that all is done
        fine = False
    if not fine:
        raise typer.Exit(1)


async def _run(buses: Mapping[str, Bus], *, json: bool, supervision: Supervision | None) -> bool:
    crews: dict[str, Crew] = {}
    asked = asyncio.Event()
    process = UNSET if supervision is None else supervision.number or UNSET

    def stop() -> None:
        if not asked.is_set() and supervision is None:
            note("draining: what runs may end; another signal ends at once")
        asked.set()
        for crew in crews.values():
            crew.stop()

    async with AsyncExitStack() as stack:
        stack.enter_context(on_signals(stop, supervision=supervision))
        for where, bus in buses.items():
            crew = await stack.enter_async_context(bus.running())
            if not crew.counters:
                raise ConfigurationError(f"{where} has no handlers, so there is nothing to run")
            crews[where] = crew
            if asked.is_set():
                crew.stop()
                break
            _say_running(where, bus, crew, json=json, process=process)
        fine = await _wait(crews)
        if not asked.is_set():
            stop()
        await asyncio.gather(*(crew.drain() for crew in crews.values()))
        for where, crew in crews.items():
            _say_drained(where, crew, json=json, process=process)
    if any(crew.report.unfinished for crew in crews.values()):
        leave_threads(1)
        return False
    return fine


async def _wait(crews: Mapping[str, Crew]) -> bool:
    """Return when a stop was asked for; False when a bus stopped by itself."""
    waits = {
        where: asyncio.get_running_loop().create_task(crew.wait(), name=f"pabal wait: {where}")
        for where, crew in crews.items()
    }
    await asyncio.wait(waits.values(), return_when=asyncio.FIRST_COMPLETED)
    failures = {where: wait.exception() for where, wait in waits.items() if wait.done()}
    for wait in waits.values():
        wait.cancel()
    await asyncio.gather(*waits.values(), return_exceptions=True)
    for where, failure in failures.items():
        if failure is not None:
            complain(f"{where} stopped by itself: {type(failure).__name__}: {failure}")
    return not any(failures.values())


def _say_running(where: str, bus: Bus, crew: Crew, *, json: bool, process: int | UnsetType) -> None:
    if json:
        say_json(RunningLine(where, list(crew.counters), process))
    else:
        say(f"{where} is running {counted(len(crew.counters), 'handler')} on {bus!r}")


def _say_drained(where: str, crew: Crew, *, json: bool, process: int | UnsetType) -> None:
    report = crew.report
    if json:
        say_json(DrainedLine(where, report.seconds, report.handlers, report.unfinished, process))
    else:
        say(f"{where} {report}")


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _OneLine(logging.Formatter):
    """A line an event, so that logs can be searched by line; of a traceback, what it ends with."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return traceback.format_exception_only(ei[1])[-1].rstrip()
