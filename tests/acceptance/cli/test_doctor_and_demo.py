"""``pabal doctor`` and ``pabal demo``."""

import urllib.request

import pytest

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import Program, parse


def test_doctor_tells_what_it_is_and_what_it_can_do(pabal: Program) -> None:
    """Findings with marks, abilities in words, and the same as JSON."""
    out = pabal.run("doctor", "sqlite:///box.db")
    assert "✓ sqlite:///box.db is connected" == out.splitlines()[0]
    assert "keep messages and groups through a restart" in out.partition("it cannot")[0]
    assert "begin at an earlier message" in out.partition("it cannot")[2]
    (found,) = pabal.lines(shapes.Examination, "doctor", "sqlite:///box.db")
    assert (True, None) == (found.connected, found.error)
    assert {"ok"} == {finding.level for finding in found.findings}
    assert found.capabilities is not None
    assert True is found.capabilities["durable"]


def test_doctor_marks_what_is_weak(pabal: Program) -> None:
    """Messages in memory end with the process, which is no failure and worth a word."""
    assert "\n! weak: " in pabal.run("doctor", "memory://")


def test_demo_prints_its_address_and_serves(pabal: Program) -> None:
    """The address is the first line, the page is there when it is printed, and SIGTERM ends it."""
    pytest.importorskip("uvicorn")
    running = pabal.start("demo", "--json")
    address = parse(running.line("http"), shapes.Serving).address
    with urllib.request.urlopen(address) as page:  # noqa: S310 - the demo's own page
        assert 200 == page.status
    running.process.terminate()
    running.end()
