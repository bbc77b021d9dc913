"""The tutorial, done as a reader does it: its programs are written to files and run as commands."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.test_blocks import ROOT

PAGE = (ROOT / "docs" / "tutorial" / "first-messages.md").read_text()
TODO, ADD, FAILING, MENDED = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "PYTHONUNBUFFERED": "1",
}


def shown(*commands: str) -> list[list[str]]:
    """What the page shows below each of these commands, a list of words each."""
    found = []
    for command in commands:
        _, _, rest = PAGE.partition(f"\n$ {command}\n")
        assert rest, f"the page does not show: {command}"
        found.append(re.split(r"^(?:\$ .*|```|\.\.\.)$", rest, maxsplit=1, flags=re.MULTILINE)[0])
    return [_comparable(output) for output in found]


def _comparable(output: str) -> list[str]:
    """The words of an output, but for what differs from run to run."""
    output = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f-]{17}", "ID", output)
    output = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ|\b\d+s\b", "TIME", output)
    return re.sub(r'File ".*?/todo.py"', "File TODO", output).split()


@contextmanager
def worker(folder: Path, program: str) -> Iterator["subprocess.Popen[str]"]:
    """Run ``pabal worker todo:bus`` with this text as todo.py; it is there once it says so."""
    (folder / "todo.py").write_text(program)
    command = ["pabal", "worker", "todo:bus"]
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "todo:bus is running 1 handler on Bus('sqlite:///todo.db')\n"
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def lines(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


@pytest.mark.timeout(180)
def test_the_tutorial_does_what_it_shows(tmp_path: Path) -> None:
    """Whoever types what the tutorial says sees what it shows, up to ids and times."""

    def run(command: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True
        )
        return _comparable(done.stdout + done.stderr)

    def follows(*commands: str) -> None:
        for command, expected in zip(commands, shown(*commands), strict=True):
            assert expected == run(command)[: len(expected)]

    (tmp_path / "add.py").write_text(ADD)
    follows('pabal publish sqlite:///todo.db events.todo.newitem \'{"item": "buy milk"}\'')
    follows("pabal dead list sqlite:///todo.db")

    with worker(tmp_path, TODO) as process:
        follows("pabal dead redrive sqlite:///todo.db --all")
        assert lines(process, 1) == ["saving buy milk"]
        follows("python add.py call mother", "python add.py water the plants")
        assert lines(process, 2) == ["saving call mother", "saving water the plants"]
        process.send_signal(signal.SIGINT)
        (report,) = lines(process, 1)
        assert re.fullmatch(r"todo:bus drained in [\d.]+ s: 3 handled, 0 given back, 0 unfinished", report)

    follows("python add.py return the book", "python add.py buy bread", "pabal groups list sqlite:///todo.db")
    with worker(tmp_path, TODO) as process:
        assert lines(process, 2) == ["saving return the book", "saving buy bread"]

    with worker(tmp_path, FAILING) as process:
        follows("python add.py buy flour", "python add.py sleep")
        assert lines(process, 5) == [
            "attempt 1 at buy flour",
            "saving flour to buy",
            *(f"attempt {number} at sleep" for number in (1, 2, 3)),
        ]

    follows("pabal dead show sqlite:///todo.db 2")
    with worker(tmp_path, MENDED) as process:
        follows("pabal dead redrive sqlite:///todo.db 2")
        assert lines(process, 2) == ["attempt 1 at sleep", "saving something to sleep"]
    assert run("pabal dead list sqlite:///todo.db") == ["no", "dead", "letters"]
