"""What holds for every command: help, exit codes, errors, and how fast it starts."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from pabal.cli.program import app
from tests.acceptance.cli.program import MODULE, SCRIPT, Program

BOX = "sqlite:///box.db"


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, by its words."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, each in inner.items():
        yield from commands(each, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def test_the_commands_are_those_of_the_documentation() -> None:
    """No command comes or goes unnoticed."""
    names = "demo worker plan publish subscribe request pull doctor"
    twice = "groups list, groups remove, dead list, dead show, dead edit, dead redrive, dead discard"
    assert {*names.split(), *twice.split(", ")} == {" ".join(path) for path in COMMANDS}


@every_command
def test_help_has_an_example_and_every_example_parses(path: tuple[str, ...], pabal: Program) -> None:
    """Nobody copies an example that is wrong."""
    text = pabal.run(*path, "--help")
    examples = re.findall(r"^ +(pabal .+)$", text.partition("Examples:")[2], re.MULTILINE)
    assert examples != []
    for example in examples:
        words = shlex.split(example)
        assert list(path) == words[1 : 1 + len(path)]
        with COMMANDS[path].make_context("pabal", words[1 + len(path) :]):
            pass


@every_command
def test_a_command_without_its_arguments_is_wrong_usage(path: tuple[str, ...], pabal: Program) -> None:
    """A missing argument is named, with exit code 2."""
    if path == ("demo",):
        assert "No such option" in pabal.outcome("demo", "--nonsense", code=2)[1]
    else:
        assert "Missing argument" in pabal.outcome(*path, code=2)[1]


@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["pabal", "python -m pabal"])
def test_both_ways_to_start_it_are_the_same_program(command: list[str], tmp_path: Path) -> None:
    """``python -m pabal`` is ``pabal``, in its help too."""
    program = Program(tmp_path, command)
    assert re.fullmatch(r"pabal \d+\.\S+\n", program.run("--version"))
    assert program.run("--help").startswith("Usage: pabal ")


def test_starting_loads_only_what_the_command_needs() -> None:
    """Help comes at once on a slow machine: neither Rich nor any transport or server is loaded for it."""
    script = "import sys, pabal.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"rich", "sqlite3", "uvicorn", "starlette", "pabal.transports.sql", "pabal.examples.todo"}
    assert set() == heavy.intersection(loaded)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["publish", "box.db", "channel21", "ping"], 2, "sqlite:///todo.db"),
        (["publish", "nonsense://x", "channel21", "ping"], 2, "sqlite://"),
        (["publish", "sqlite:///box.db?colour=red", "channel21", "ping"], 2, "colour"),
        (["publish", BOX, "channel 21", "ping"], 2, "bad channel"),
        (["publish", BOX, "events.>", "ping"], 2, "pattern"),
        (["publish", BOX, "channel21", "ping", "--header", "nonsense"], 2, "NAME=VALUE"),
        (["publish", BOX, "channel21", "ping", "--header", "ce-id=1"], 2, "reserved"),
        (["publish", BOX, "channel21", "ping", "--delay", "soon"], 2, "500ms"),
        (["publish", BOX, "channel21", "ping", "--every", "5s"], 2, "--count"),
        (["publish", BOX, "channel21", "ping", "--count", "2", "--id", "a"], 2, "--id"),
        (["publish", BOX, "channel21", "ping", "--count", "0"], 2, "--count"),
        (["publish", "sqlite:////nowhere/at/all/box.db", "channel21", "ping"], 2, "/nowhere/at/all"),
        (["publish", "sqlite:///app.py", "channel21", "ping"], 2, "app.py"),
        (["doctor", "sqlite:///box.db?lease=soon"], 2, "lease"),
        (["subscribe", BOX, "a..b"], 2, "bad channel"),
        (["subscribe", BOX, "a", "--group", "a b"], 2, "bad group"),
        (["request", BOX, "channel21", "ping"], 1, "nobody is there to answer channel21"),
        (["pull", BOX, "channel21"], 2, "--group"),
        (["groups", "remove", BOX, "channel21", "nobody"], 2, "nobody"),
        (["dead", "show", BOX, "77"], 2, "77"),
        (["dead", "list", BOX, "--reason", "bored"], 2, "unrouted"),
        (["dead", "redrive", BOX], 2, "--all"),
        (["dead", "redrive", BOX, "1", "--all"], 2, "--all"),
        (["dead", "discard", BOX], 2, "--all"),
        (["worker", "app"], 2, "MODULE:BUS"),
        (["worker", "nowhere:bus"], 2, "no module 'nowhere'"),
        (["worker", "app:buss"], 2, "its buses are bus, idle, other"),
        (["worker", "app:no_bus"], 2, "it is a dict"),
        (["worker", "app:idle"], 2, "no handlers"),
        (["worker", "raises:bus"], 1, "ZeroDivisionError"),
        (["worker", "needs:bus"], 1, "not_installed_here"),
        (["worker", "app:bus", "--processes", "0"], 2, "--processes"),
        (["plan", "app:buss"], 2, "its buses are bus, idle, other"),
        (["demo", "--host", "example.com"], 2, "loopback"),
        (["nonsense"], 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_told_in_a_line_with_its_exit_code(
    arguments: list[str], code: int, said: str, pabal: Program
) -> None:
    """An error says what to do, shows no traceback, and prints nothing on standard output."""
    (pabal.folder / "raises.py").write_text("1 / 0\n")
    (pabal.folder / "needs.py").write_text("import not_installed_here\n")
    out, err = pabal.outcome(*arguments, code=code)
    assert "" == out
    assert said in err
    assert "Traceback" not in err
    assert err.startswith("Usage:") or 1 == len(err.splitlines())


@pytest.mark.parametrize("place", [0, 4], ids=["before", "after"])
def test_debug_shows_the_traceback(place: int, pabal: Program) -> None:
    """Before the command or after it, --debug shows where an error came from."""
    arguments = ["publish", "nonsense://x", "channel21", "ping"]
    arguments.insert(place, "--debug")
    err = pabal.outcome(*arguments, code=2)[1]
    assert "Traceback" in err
    assert "ConfigurationError" in err


def test_no_password_is_shown() -> None:
    """A URL's password stands in no output, not even in that of an error."""
    program = Program(Path.cwd())
    for arguments in (["publish", "nonsense://me:secret@host/x", "a", "b"], ["doctor", "sqlite://me:secret@host/x.db"]):
        out, err = program.outcome(*arguments, code=2)
        assert "secret" not in out + err
