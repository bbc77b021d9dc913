"""A ``text`` block right after a ``python`` block is what that prints."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.docs.test_blocks import DOCUMENTS, ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_what_a_page_shows_as_printed_is_printed(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who runs an example sees what the page says, line by line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["example.py"])
    blocks = BLOCK.findall(path.read_text())
    if not any(shown for _, shown in blocks):
        return
    namespace: dict[str, object] = {"__name__": "__main__"}
    for code, shown in blocks:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(code, str(path), "exec", dont_inherit=True), namespace)  # noqa: S102 - our own examples
        if shown:
            assert printed.getvalue() == shown
