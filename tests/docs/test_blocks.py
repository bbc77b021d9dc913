"""What the examples in README.md and docs/ look like; that they run is tested by the root's conftest.py."""

import re
from pathlib import Path

import pytest
from sybil import Document
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")] if path.exists())

# No mermaid: its script would come from elsewhere, and pages load nothing from elsewhere.
LANGUAGES = {
    "bash",
    "console",
    "css",
    "html",
    "http",
    "ini",
    "javascript",
    "json",
    "make",
    "python",
    "sql",
} | {
    "text",
    "toml",
    "yaml",
}

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])


@documents
def test_every_block_names_a_known_language(path: Path) -> None:
    """A block with a misspelt or decorated language would silently not run."""
    blocks = RawFencedCodeBlockLexer(re.compile(r"(?P<info>[^\n]*)\n"))(Document(path.read_text(), str(path)))
    assert {str(block.lexemes["info"]) for block in blocks} <= LANGUAGES


@documents
def test_every_skip_is_of_one_block_and_gives_its_reason(path: Path) -> None:
    """An example is left out one at a time, and a reader of the source sees why."""
    skips = re.findall(r"<!--+\s*skip\b(.*?)--+>", path.read_text(), re.DOTALL)
    assert [skip for skip in skips if not re.fullmatch(r': next "[^"\n]{8,}"\s*', skip)] == []
