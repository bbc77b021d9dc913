"""Whoever follows a link of README.md or docs/ gets somewhere, and finds every page in the navigation."""

import re
from pathlib import Path

import pytest

from tests.docs.test_blocks import DOCUMENTS, ROOT

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)", re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links(path: Path) -> list[str]:
    """The internal links of a document."""
    found = LINK.findall(FENCED.sub("", path.read_text()))
    return [link for link in found if not link.startswith(("https://", "http://", "mailto:"))]


def anchors(path: Path) -> set[str]:
    """What the headings of a document can be linked by."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower()) for text in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_internal_link_leads_somewhere(path: Path) -> None:
    """A link names a file that is there and, where it goes on with #, a heading in it."""
    broken = []
    for link in links(path):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_navigation_lists_every_page_once() -> None:
    """A page that nobody finds is not written for anybody."""
    _, _, nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")
    listed = re.findall(r"^ .*?([\w/-]+\.md)$", nav.partition("\n\n")[0], re.MULTILINE)
    assert sorted(str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")) == sorted(listed)
