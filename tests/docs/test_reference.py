"""What the reference says is what the code does."""

import ast
import inspect
import re
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import pabal
from pabal.model import cloudevents, errors
from pabal.transports.memory.transport import MemoryOptions
from pabal.transports.sql.transport import SqliteOptions
from scripts import reference
from tests.docs.test_blocks import ROOT

REFERENCE = ROOT / "docs" / "reference"

MESSAGE = pabal.Message(
    id="01a2038f-5f2b-7c31-9a44-6f1a0c8b7d20",
    channel="events.todo.newitem",
    body=b'{"item":"buy milk"}',
    key="user-7",
    headers={"tenant": "blue"},
    content_type="application/json",
    type="events.todo.newitem",
    source="shop",
    time=datetime(2026, 11, 22, 15, 4, 5, 250_000, tzinfo=UTC),
    correlation_id="01a2038f-5e11-7b02-8c3d-2d9e5b1f4a66",
    causation_id="01a2038f-5e11-7b02-8c3d-2d9e5b1f4a66",
    expires=datetime(2026, 11, 22, 15, 5, 5, 250_000, tzinfo=UTC),
)
"""The message that message-on-the-wire.md shows in its three forms."""


def read(page: str) -> str:
    return (REFERENCE / page).read_text()


def section(page: str, heading: str) -> str:
    return read(page).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_command_line_is_described_as_it_is() -> None:
    """Every command, argument and option stands in the page; `make reference` writes it anew."""
    assert reference.command_line() == reference.COMMAND_LINE.read_text()


def test_the_table_of_capabilities_is_what_transports_declare() -> None:
    """The table follows from the transports themselves; `make reference` writes it anew."""
    assert reference.capabilities() == reference.CAPABILITIES.read_text()


def test_the_promises_are_those_of_the_kit() -> None:
    """Every promise stands in the page with what it needs; `make reference` writes it anew."""
    assert reference.conformance() == reference.CONFORMANCE.read_text()


@pytest.mark.parametrize(
    ("heading", "options"), [("memory://", MemoryOptions), ("sqlite://", SqliteOptions)], ids=["memory", "sqlite"]
)
def test_every_option_of_a_url_is_listed_with_its_default(heading: str, options: Any) -> None:
    """No option is missing, none is made up, and the defaults are the true ones."""
    listed = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section("urls-and-options.md", heading), re.MULTILINE)
    assert [(field.name, str(field.default)) for field in fields(options)] == listed


def test_every_error_is_explained() -> None:
    """The page has the tree as it stands in the code, and says of each public error what to do."""
    public = {name for name in pabal.__all__ if issubclass_of_pabal_error(getattr(pabal, name))}
    explained = set(re.findall(r"^\| `(\w+)` \|", section("errors.md", "What to do"), re.MULTILINE))
    assert public - {"PabalError"} == explained
    tree = (inspect.getdoc(errors) or "").partition("\n\n")[2].splitlines()
    names = [re.sub(r"(?<=\w)  +.*", "", line) for line in tree]
    assert "\n".join(["```text", *names, "```"]) in read("errors.md")


def issubclass_of_pabal_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, pabal.PabalError)


def test_the_three_forms_of_a_message_are_shown_as_they_travel() -> None:
    """Who writes a client in another language can copy from the page."""
    (headers,) = re.findall(r"^```http\n(.*?)^```", read("message-on-the-wire.md"), re.MULTILINE | re.DOTALL)
    binary = "".join(f"{name}: {value}\n" for name, value in cloudevents.to_binary(MESSAGE).items())
    assert f"{binary}\n{MESSAGE.body.decode()}\n" == headers

    shown = re.findall(r"^```json\n(.*?)^```", read("message-on-the-wire.md"), re.MULTILINE | re.DOTALL)
    forms = [cloudevents.to_structured(MESSAGE), cloudevents.pack(MESSAGE)]
    assert [msgspec.json.decode(form) for form in forms] == [msgspec.json.decode(json) for json in shown]


def test_every_public_name_has_a_docstring() -> None:
    """The page of public names says what each means, and shows no name without words."""
    assert [name for name in pabal.__all__ if not inspect.getdoc(getattr(pabal, name))] == []


def test_the_public_names_are_sorted_and_imported() -> None:
    """`pabal.__all__` lists each public name once, as `pabal/__init__.py` imports them."""
    tree = ast.parse((ROOT / "src" / "pabal" / "__init__.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(pabal.__all__)
    assert sorted(set(pabal.__all__)) == list(pabal.__all__)
