"""Write the pages of the reference that follow from the code: `make reference`.

The command line's page comes from the Typer app, the table of capabilities from what each transport declares when it
is opened, the list of promises from the conformance kit. All stand in docs/ as ordinary text, and a test fails while
they are not what this would write.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from textwrap import fill
from typing import Any

import msgspec
from typer.main import get_command

from pabal.cli.dead import DiscardedLine
from pabal.cli.demo import ServingLine
from pabal.cli.doctor import Examination
from pabal.cli.groups import GroupLine, RemovedLine
from pabal.cli.letters import AttemptLine, EditLine, LetterLine, RedrivenLine
from pabal.cli.lines import AnswerLine, MessageLine, ReceiptLine
from pabal.cli.plan import PlanLine
from pabal.cli.program import app
from pabal.cli.worker import DrainedLine, RunningLine
from pabal.model.capabilities import Capabilities
from pabal.model.clock import SystemClock
from pabal.model.dead import Cause
from pabal.runtime.registry import make_transport
from pabal.testing import PROMISES, Need, topics

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
COMMAND_LINE = REFERENCE / "command-line.md"
CAPABILITIES = REFERENCE / "capabilities.md"
CONFORMANCE = REFERENCE / "conformance.md"

TRANSPORTS = {
    "memory://": "memory://",
    "sqlite://": "sqlite:///box.db",
    "redis+pubsub://": "redis+pubsub://127.0.0.1",
    "redis+streams://": "redis+streams://127.0.0.1",
    "nats://": "nats://127.0.0.1",
    "jetstream://": "jetstream://127.0.0.1",
}
"""A URL for each transport, by the heading of its column."""

JSON_LINES: dict[tuple[str, ...], type[msgspec.Struct]] = {
    ("demo",): ServingLine,
    ("worker, at the start",): RunningLine,
    ("worker, at the end",): DrainedLine,
    ("plan",): PlanLine,
    ("publish",): ReceiptLine,
    ("subscribe", "pull"): MessageLine,
    ("request",): AnswerLine,
    ("doctor",): Examination,
    ("groups list",): GroupLine,
    ("groups remove",): RemovedLine,
    ("dead list", "dead show", "dead edit"): LetterLine,
    ("dead list --by-cause",): Cause,
    ("dead redrive",): RedrivenLine,
    ("dead discard",): DiscardedLine,
}

_BEGIN, _END = "<!-- written by `make reference` -->\n", "<!-- end -->\n"


def command_line() -> str:
    """The page of the command line."""
    program: Any = get_command(app)
    lines = ["# The command line", "", program.help, ""]
    lines += [
        "URL says which transport ([all URLs](urls-and-options.md)). Every command has `--help`, with the same text as",
        "this page.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | failed; the reason is on standard error |",
        "| 2 | wrong usage: of the command line, of a URL, or of something that the transport cannot do |",
        "",
        "These options stand before the command:",
        "",
        *_table("option", [(_option(p), p.help) for p in program.params]),
    ]
    for name, command in program.commands.items():
        lines += _command(f"pabal {name}", command)
    lines += ["", *_json_lines()]
    return "\n".join(lines).rstrip() + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for sub, subcommand in command.commands.items():
            yield from _command(f"{name} {sub}", subcommand)
        return
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = [name, *(_argument(p) for p in arguments), *(["[OPTIONS]"] if options else [])]
    yield from ["", f"## {name}", "", "```text", " ".join(usage), "```", ""]
    for paragraph in command.help.split("\n\n"):
        yield from [fill(" ".join(paragraph.split()), 120, break_on_hyphens=False), ""]
    if arguments:
        yield from _table("argument", [(_argument(p), p.help) for p in arguments])
        yield ""
    if options:
        yield from _table("option", [(_option(p), _option_help(p)) for p in options])
    examples = [line.strip() for line in command.epilog.splitlines()[2:]]
    yield from ["", "```console", *(f"$ {line}" for line in examples), "```"]


def _json_lines() -> Iterator[str]:
    yield from ["## What --json prints", "", "One JSON object a line, with these members:", ""]
    yield from ["| command | members |", "|---|---|"]
    for commands, struct in JSON_LINES.items():
        members = [field.encode_name for field in msgspec.structs.fields(struct)]
        tag = struct.__struct_config__.tag_field
        shown = ", ".join(f"`{member}`" for member in ([tag] if tag else []) + members)
        yield f"| {', '.join(commands)} | {shown} |"
    yield ""
    attempt, edit = (
        _listed([f"`{field.encode_name}`" for field in msgspec.structs.fields(line)])
        for line in (AttemptLine, EditLine)
    )
    yield fill(
        "`body` is a JSON value where the body is JSON and a string where it is text; any other body is in "
        f"`body_base64` instead. Each of a dead letter's `attempts` has {attempt}; each of its `edits` has {edit}, as "
        "it was before; `past` has the letters before it, which were redriven. What a letter has nothing of is left "
        "out. "
        "Times are RFC 3339 in UTC.",
        120,
    )


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _argument(parameter: Any) -> str:
    shown = str(parameter.metavar or parameter.name.upper())
    if not parameter.required and not shown.startswith("["):
        shown = f"[{shown}]"
    return shown


def _option(parameter: Any) -> str:
    shown = ", ".join(parameter.opts)
    return shown if parameter.is_flag else f"{shown} {parameter.metavar}"


def _option_help(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return f"{parameter.help} Required."
    if parameter.is_flag or default is None:
        return str(parameter.help)
    shown = f"{default:g} s" if isinstance(default, float) else str(default)
    return f"{parameter.help} By default {shown}."


def _table(heading: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    yield from [f"| {heading} | meaning |", "|---|---|"]
    for name, meaning in rows:
        yield f"| `{_cell(name)}` | {_cell(meaning)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def capabilities() -> str:
    """The page of capabilities, its table made anew."""
    return _renewed(CAPABILITIES, capability_table())


def _renewed(page: Path, part: str) -> str:
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + "\n" + part + "\n" + _END + after


def capability_table() -> str:
    """What each transport declares, a row for each flag."""
    declared = _declared()
    rows = [
        "| flag | meaning | " + " | ".join(f"`{name}`" for name in declared) + " |",
        "|---" * (len(declared) + 2) + "|",
    ]
    meanings = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", inspect.getdoc(Capabilities) or "", re.MULTILINE)
    for flag, meaning in meanings:
        values = " | ".join(_value(getattr(can, flag)) for can in declared.values())
        rows.append(f"| `{flag}` | {_cell(meaning)} | {values} |")
    return "\n".join(rows) + "\n"


def _declared() -> dict[str, Capabilities]:
    return {name: make_transport(url, clock=SystemClock()).best for name, url in TRANSPORTS.items()}


def _value(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "no limit" if value is None else f"{value:,}"


def conformance() -> str:
    """The page of promises, its tables made anew."""
    return _renewed(CONFORMANCE, promise_tables())


def promise_tables() -> str:
    """Every promise with what a transport has to declare for it, a table for each topic."""
    lines: list[str] = []
    for topic in topics.__all__:
        about = inspect.getdoc(getattr(topics, topic)) or ""
        lines += [f"## {topic.replace('_', ' ').capitalize()}", "", about, ""]
        lines += ["| promise | what is promised | asked where |", "|---|---|---|"]
        for promise in PROMISES.values():
            if promise.topic == topic:
                asked = ", ".join(map(_need, promise.needs)) or "always"
                lines.append(f"| `{promise.name}` | {_cell(promise.text)} | {asked} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _need(need: Need) -> str:
    """What has to be declared, short: a flag, a flag and its value, or that a flag is not declared."""
    flag, _, how = need.text.partition(" ")
    value = how.removeprefix("declared as ").lower()
    return {"declared": f"`{flag}`", "not declared": f"no `{flag}`"}.get(how, f"`{flag}`: {value}")


if __name__ == "__main__":
    COMMAND_LINE.write_text(command_line())
    CAPABILITIES.write_text(capabilities())
    CONFORMANCE.write_text(conformance())
