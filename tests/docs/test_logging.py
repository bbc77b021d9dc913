"""The page about logging has every line that pabal writes, and no other."""

import ast
import re

from tests.docs.test_blocks import ROOT

SOURCE = ROOT / "src" / "pabal"
ROW = re.compile(r"^\| (\w+) \| `([\w.]+)` \| `(.+?)` \| .{5,} \|$", re.MULTILINE)


def written() -> set[tuple[str, str, str]]:
    """The level, the logger and the text of each call of a logger in pabal, but for its reference app's."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "examples"):
            continue
        tree = ast.parse(path.read_text())
        loggers = re.findall(r'^log = logging\.getLogger\("([\w.]+)"\)$', path.read_text(), re.MULTILINE)
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(text)), *_]
                ):
                    found.add((level, loggers[0], re.sub(r"%[-\d.]*\w", "…", text)))
    return found


def test_every_log_line_is_listed_with_what_to_do() -> None:
    """An operator who meets a line finds it in the page, with its level and logger."""
    listed = set(ROW.findall((ROOT / "docs" / "reference" / "logging.md").read_text()))
    assert written() == listed


def test_no_line_per_message_at_info() -> None:
    """What goes well is counted, not logged: the lines at INFO are a bus's and a store's, never a message's."""
    expected = {"pabal", "pabal.nats", "pabal.redis", "pabal.sqlite"}
    assert expected == {logger for level, logger, _ in written() if level == "info"}
