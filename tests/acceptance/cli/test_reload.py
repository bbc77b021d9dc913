"""``pabal worker --reload``: a change of the code starts it anew, and costs no message."""

import signal

import pytest

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import Program, Running

BOX = "sqlite:///box.db"

APP = '''
import asyncio
from pathlib import Path

from pabal import Bus, Message

bus = Bus("sqlite:///box.db")


@bus.handler("jobs", group="team")
async def job(message: Message) -> None:
    """Ends once the file `go` is there."""
    print("{name} took", message.id)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    print("{name} did", message.id)


print("{name} is imported")
'''


@pytest.fixture
def reloading(pabal: Program) -> Running:
    """A worker that is running and watching."""
    pabal.run("pull", BOX, "jobs", "--group", "team", "--wait", "0")
    write(pabal, "first")
    running = pabal.start("worker", "changing:bus", "--reload")
    running.line("first is imported")
    running.line("is running")
    running.note("watching")
    return running


def write(pabal: Program, name: str) -> None:
    change(pabal, APP.format(name=name))


def change(pabal: Program, code: str) -> None:
    """Replace the module at once: one that is written has two changes, the first of which leaves it empty."""
    (pabal.folder / "changing").write_text(code)
    (pabal.folder / "changing").replace(pabal.folder / "changing.py")


def publish(pabal: Program) -> str:
    (receipt,) = pabal.lines(shapes.Receipt, "publish", BOX, "jobs", "job")
    return receipt.id


def test_a_change_drains_and_starts_anew(pabal: Program, reloading: Running) -> None:
    """What the old code has begun it ends; then the new code runs."""
    published = publish(pabal)
    reloading.line("first took")
    write(pabal, "the second")
    reloading.note("starting anew")
    (pabal.folder / "go").touch()
    assert f"first did {published}" == reloading.line("did")
    assert "1 handled, 0 given back, 0 unfinished" in reloading.line("drained in")
    reloading.line("the second is imported")
    reloading.line("is running")
    published = publish(pabal)
    assert f"the second did {published}" == reloading.line("did")
    reloading.process.terminate()
    assert "1 handled, 0 given back, 0 unfinished" in reloading.end()[0]


def test_a_syntax_error_waits_for_the_next_change(pabal: Program, reloading: Running) -> None:
    """It is said where it is, and what ran before runs on."""
    (pabal.folder / "go").touch()
    change(pabal, "def broken(:\n")
    assert f"pabal: {pabal.folder}/changing.py:1: " in reloading.note("changing.py:1")
    published = publish(pabal)
    assert f"first did {published}" == reloading.line("did")
    write(pabal, "the second")
    reloading.line("the second is imported")
    reloading.process.terminate()
    reloading.end()


def test_code_that_cannot_start_waits_for_the_next_change(pabal: Program, reloading: Running) -> None:
    """An error at the import is no reason to end, nor to try again without a change."""
    change(pabal, "raise LookupError('no such thing')\n")
    reloading.note("LookupError: no such thing")
    assert "the next change starts it anew" in reloading.note("process 1 ended with exit code 1")
    write(pabal, "the second")
    reloading.line("the second is imported")
    reloading.line("is running")
    reloading.process.send_signal(signal.SIGINT)
    reloading.end()


def test_several_processes_start_anew_together(pabal: Program) -> None:
    """With --processes each of them does, and lines have their numbers."""
    write(pabal, "first")
    running = pabal.start("worker", "changing:bus", "--reload", "--processes", "2")
    running.note("watching")
    write(pabal, "the second")
    imported = {running.line("the second is imported") for _ in range(2)}
    assert {f"[{number}] the second is imported" for number in (1, 2)} == imported
    running.process.terminate()
    running.end()


def test_other_files_change_nothing(pabal: Program, reloading: Running) -> None:
    """A note, a database or what Python itself writes is no code."""
    (pabal.folder / "notes.txt").write_text("nothing")
    publish(pabal)
    reloading.line("first took")
    (pabal.folder / "go").touch()
    reloading.process.terminate()
    _, err = reloading.end()
    assert "anew" not in err


def test_a_second_signal_ends_at_once(pabal: Program, reloading: Running) -> None:
    """Also while it drains for a change."""
    publish(pabal)
    reloading.line("first took")
    write(pabal, "the second")
    reloading.note("starting anew")
    reloading.process.terminate()
    reloading.note("draining")
    reloading.process.terminate()
    assert "1 unfinished" in reloading.end(1)[0]


def test_without_watchfiles_it_says_what_to_install(pabal: Program) -> None:
    """The extra is named."""
    (pabal.folder / "without").mkdir()
    (pabal.folder / "without" / "watchfiles.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'watchfiles'\", name='watchfiles')\n"
    )
    running = pabal.start("worker", "app:bus", "--reload", environment={"PYTHONPATH": "without"})
    assert "pip install 'pabal[reload]'" in running.end(2)[1]
