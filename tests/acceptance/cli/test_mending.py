"""``pabal dead``: letters chosen, counted, mended and redriven with care."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import SCRIPT, Program, Running, parse

BOX = "sqlite:///box.db"

MENDING = '''
import sys

import msgspec

from pabal import Backoff, Bus, Message

bus = Bus("sqlite:///box.db")


class Item(msgspec.Struct):
    item: str


@bus.handler("items", group="save", retry=Backoff(attempts=1))
async def save(todo: Item, message: Message) -> None:
    """Takes items that are not bad."""
    if todo.item == "bad":
        raise ValueError("no such item")
    print("saved", todo.item, message.id, dict(message.headers), flush=True)
'''


@pytest.fixture
def mending(pabal: Program) -> Program:
    """The program, with the module `mending` beside it."""
    (pabal.folder / "mending.py").write_text(MENDING)
    return pabal


def worker(pabal: Program) -> Running:
    started = pabal.start("worker", "mending:bus")
    started.line("is running")
    return started


def stop(running: Running) -> str:
    running.process.terminate()
    return running.end()[0]


def letters(pabal: Program, *options: str) -> list[shapes.Letter]:
    return pabal.lines(shapes.Letter, "dead", "list", BOX, *options)


def fail(pabal: Program, *bodies: str) -> list[shapes.Letter]:
    """The letters of bodies that the handler fails on."""
    running = worker(pabal)
    for body in bodies:
        pabal.run("publish", BOX, "items", body, "--header", "tenant=blue")
    for _ in bodies:
        running.note("is a dead letter")
    stop(running)
    return letters(pabal)


def test_a_letter_is_mended_redriven_and_handled(mending: Program) -> None:
    """Its history shows who failed, when and why, and what was changed by whom: before the redrive and after."""
    (letter,) = fail(mending, '{"item": "bad"}')
    out = mending.run("dead", "edit", BOX, letter.id, '{"item": "milk"}', "--header", "tenant=red", "--by", "ann")
    assert f"dead letter {letter.id} is changed; redrive it to have it handled\n" == out
    shown = mending.run("dead", "show", BOX, letter.id)
    for line in (
        'body:        {"item":"milk"}',
        "headers:     tenant=red",
        "ValueError: no such item",
        " by ann; before that it had",
        "  headers: tenant=blue",
        '  body:    {"item":"bad"}',
    ):
        assert line in shown
    (edited,) = mending.lines(shapes.Letter, "dead", "show", BOX, letter.id)
    assert isinstance(edited.edits, list)
    (edit,) = edited.edits
    assert ("ann", {"item": "bad"}, {"tenant": "blue"}, "application/json") == (
        edit.by,
        edit.body,
        edit.headers,
        edit.content_type,
    )
    assert ({"item": "milk"}, {"tenant": "red"}) == (edited.body, edited.headers)

    running = worker(mending)
    assert f"{letter.id} sent to 1 receiver\n" == mending.run("dead", "redrive", BOX, letter.id, "--stop-on-failure")
    assert f"saved milk {letter.message_id} {{'tenant': 'red'}}" == running.line("saved")
    stop(running)
    assert [] == letters(mending)
    afterwards = mending.run("dead", "show", BOX, letter.id)
    for line in ("it is dead no more", "ValueError: no such item", " by ann; before that it had", "redriven at "):
        assert line in afterwards
    (redriven,) = letters(mending, "--redriven")
    assert (letter.id, edited.edits) == (redriven.id, redriven.edits)
    assert letter.id in mending.run("dead", "list", BOX, "--redriven")
    assert "redriven already" in mending.outcome("dead", "edit", BOX, letter.id, "x", code=2)[1]


def test_what_comes_back_shows_its_past(mending: Program) -> None:
    """Mended, and failed again: the new letter shows the failure and the edit before it."""
    (letter,) = fail(mending, '{"itme": "milk"}')
    mending.run("dead", "edit", BOX, letter.id, '{"item": "bad"}', "--by", "ann")
    running = worker(mending)
    out, err = mending.outcome("dead", "redrive", BOX, "--all", "--stop-on-failure", code=1)
    stop(running)
    (again,) = letters(mending)
    assert (
        f"{letter.id} came back: it was sent, and became dead letter {again.id} (exhausted: ValueError: no such " in out
    )
    assert "1 dead letter came back, 0 sent" in err
    shown = mending.run("dead", "show", BOX, again.id)
    assert f"before, as dead letter {letter.id} (undecodable, save):" in shown
    first, second, third = (shown.index(text) for text in ("missing required field", "by ann", "since then:"))
    assert first < second < third < shown.rindex("ValueError: no such item")
    (full,) = mending.lines(shapes.Letter, "dead", "show", BOX, again.id)
    assert isinstance(full.past, list)
    assert [(letter.id, "undecodable")] == [(each.id, each.reason) for each in full.past]


def test_bodies_to_edit(mending: Program) -> None:
    """From standard input too; JSON stays JSON, text stays text, unless another type is named."""
    mending.run("publish", BOX, "nobody", '{"a": 1}')
    mending.run("publish", BOX, "nobody", "text")
    first, second = letters(mending)
    mending.run("dead", "edit", BOX, first.id, "-", stdin=b'{"a": 2}')
    err = mending.outcome("dead", "edit", BOX, first.id, "{", code=2)[1]
    assert "the body is application/json, and what it is to be is no JSON" in err
    mending.run("dead", "edit", BOX, first.id, "[", "--content-type", "text/plain")
    mending.run("dead", "edit", BOX, second.id, '{"b": 1}')
    (one,) = mending.lines(shapes.Letter, "dead", "show", BOX, first.id)
    assert isinstance(one.edits, list)
    assert ("[", [{"a": 1}, {"a": 2}]) == (one.body, [edit.body for edit in one.edits])
    (other,) = mending.lines(shapes.Letter, "dead", "edit", BOX, second.id, "--header", "a=1", "--header", "b=2")
    assert ('{"b": 1}', {"a": "1", "b": "2"}) == (other.body, other.headers)
    (other,) = mending.lines(shapes.Letter, "dead", "edit", BOX, second.id, "--remove-header", "a", "--by", "")
    assert {"b": "2"} == other.headers
    assert isinstance(other.edits, list)
    assert "" == other.edits[-1].by
    assert "there is no dead letter '99'" in mending.outcome("dead", "edit", BOX, "99", "x", code=2)[1]
    assert "give BODY" in mending.outcome("dead", "edit", BOX, second.id, code=2)[1]


def at_a_terminal(pabal: Program, editor: str, *arguments: str) -> tuple[int, str]:
    """The exit code and all that is shown."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "EDITOR": editor}
    environment.pop("VISUAL", None)
    done = subprocess.run(
        [*SCRIPT, *arguments],
        cwd=pabal.folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 10_000):
            shown += piece
    except OSError:
        pass  # the end, as Linux has it
    os.close(ours)
    return done.returncode, shown.decode()


def script(folder: Path, code: str) -> str:
    """An editor that does this to the file it is given."""
    file = folder / "editor with space.sh"
    file.write_text(f"#!/bin/sh\n{code}\n")
    file.chmod(0o755)
    return f"'{file}' --wait"


def test_an_editor_opens_at_a_terminal(mending: Program) -> None:
    """It has the body as it is; what is saved is the new one, and what is left as it was is no edit."""
    mending.run("publish", BOX, "nobody", '{"a": 1}')
    (letter,) = letters(mending)
    editor = script(mending.folder, 'case $2 in *.json) printf \'%s\\n\' "$(sed s/1/2/ "$2")" > "$2";; esac')
    code, shown = at_a_terminal(mending, editor, "dead", "edit", BOX, letter.id)
    assert (0, True) == (code, f"dead letter {letter.id} is changed" in shown)
    (edited,) = letters(mending)
    assert {"a": 2} == edited.body
    assert isinstance(edited.edits, list)
    assert [{"a": 1}] == [edit.body for edit in edited.edits]
    assert edited.edits[0].by != ""

    for said, expected, code in (
        ("true", "nothing was changed", 0),
        ("exit 3", "ended with 3; nothing was changed", 2),
        ('printf "{" > "$2"', "no JSON", 2),
    ):
        assert code == at_a_terminal(mending, script(mending.folder, said), "dead", "edit", BOX, letter.id)[0], said
        shown = at_a_terminal(mending, script(mending.folder, said), "dead", "edit", BOX, letter.id)[1]
        assert expected in shown
    assert "set EDITOR" in at_a_terminal(mending, "", "dead", "edit", BOX, letter.id)[1]
    assert "cannot be started" in at_a_terminal(mending, "/no/such/editor", "dead", "edit", BOX, letter.id)[1]
    assert [edited] == letters(mending)


def test_letters_are_chosen_and_counted(mending: Program) -> None:
    """By reason, channel, group, cause and time, for reading, sending and deleting alike."""
    fail(mending, '{"item": "bad"}', '{"itme": "x"}', '{"item": "bad"}')
    mending.run("publish", BOX, "nobody", "x")
    causes = mending.lines(shapes.Cause, "dead", "list", BOX, "--by-cause")
    assert [(2, "exhausted"), (1, "undecodable"), (1, "unrouted")] == [(each.count, each.reason) for each in causes]
    assert ("items", "save") == (causes[0].channel, causes[0].group)
    assert "ValueError at mending.py:19 save" == causes[0].cause
    table = mending.run("dead", "list", BOX, "--by-cause").splitlines()
    assert ["letters", "reason", "channel", "group", "oldest", "newest", "example", "cause"] == table[0].split()
    assert table[1].endswith("ValueError at mending.py:19 save")
    assert [2, 2, 4, 0, 0, 4] == [
        len(letters(mending, *options))
        for options in (
            ("--cause", "ValueError"),
            ("--cause", causes[0].cause),
            ("--since", "1h"),
            ("--until", "1h"),
            ("--since", "2999-01-01"),
            ("--until", "2999-01-01T00:00+09:00", "--since", "2000-01-01"),
        )
    ]
    assert "no dead letters that fit\n" == mending.outcome("dead", "list", BOX, "--by-cause", "--group", "other")[1]
    mending.run("dead", "redrive", BOX, "--cause", "ValueError", "--since", "1h")
    assert ["undecodable", "unrouted"] == [letter.reason for letter in letters(mending)]
    assert "discarded 1 dead letter\n" == mending.run("dead", "discard", BOX, "--reason", "undecodable")
    for verb in ("redrive", "discard"):
        for options in ((), ("--all", "--group", "g"), ("1", "--all"), ("1", "--cause", "x")):
            assert "what to choose them by" in mending.outcome("dead", verb, BOX, *options, code=2)[1]
    assert "is no time" in mending.outcome("dead", "list", BOX, "--since", "yesterday", code=2)[1]
    assert 1 == len(letters(mending))


def test_a_dry_run_tells_and_sends_nothing(mending: Program) -> None:
    """What would be sent, and where to; what would stay, and why."""
    (failed,) = fail(mending, '{"item": "bad"}')
    assert f"{failed.id} would go to save of items\n" == mending.run("dead", "redrive", BOX, "--all", "--dry-run")
    (line,) = mending.lines(shapes.Redriven, "dead", "redrive", BOX, "--all", "--dry-run")
    assert (failed.id, failed.message_id, None, None, ["save of items"]) == (
        line.id,
        line.message_id,
        line.receivers,
        line.error,
        line.to,
    )
    mending.run("groups", "remove", BOX, "items", "save")
    out, err = mending.outcome("dead", "redrive", BOX, "--all", "--dry-run", code=1)
    assert f"{failed.id} would stay: there is no group 'save' of 'items'\n" == out
    assert "1 dead letter would stay" in err
    assert [failed.id] == [letter.id for letter in letters(mending)]


def test_a_slow_redrive_can_be_interrupted(mending: Program) -> None:
    """What was sent stays sent, the rest stays dead, and it is said how many."""
    mending.run("publish", BOX, "late", "x", "--count", "5")
    mending.run("pull", BOX, "late", "--group", "g", "--wait", "0")
    running = mending.start("dead", "redrive", BOX, "--all", "--rate", "0.01")
    running.line("sent to 1 receiver")
    running.process.send_signal(signal.SIGINT)
    assert "interrupted: 1 dead letter sent, the others stay" in running.end(1)[1]
    assert 4 == len(letters(mending))
    assert "rate is messages a second" in mending.outcome("dead", "redrive", BOX, "--all", "--rate", "0", code=2)[1]


def test_stopping_says_what_was_not_tried(mending: Program) -> None:
    """After the first new failure nothing more is sent."""
    fail(mending, *['{"item": "bad"}'] * 3)
    running = worker(mending)
    out, err = mending.outcome(
        "dead", "redrive", BOX, "--all", "--stop-on-failure", "--patience", "30s", "--json", code=1
    )
    stop(running)
    sent, died = [parse(line, shapes.Redriven) for line in out.splitlines()]
    assert (sent.id, None) == (died.id, sent.error)
    assert died.error is not None
    assert "1 dead letter came back, 0 sent, 2 not tried" in err
    assert 3 == len(letters(mending))


def test_a_box_elsewhere_is_read_and_redriven(mending: Program) -> None:
    """--box is where the letters are, URL whom they came from."""
    code = "from mending import bus as _, save\nfrom pabal import Backoff, Bus\n"
    code += 'bus = Bus("sqlite:///box.db", dead_letters="sqlite:///dead.db")\n'
    code += 'bus.handler("items", group="save", retry=Backoff(attempts=1))(save)\n'
    (mending.folder / "elsewhere.py").write_text(code)
    running = mending.start("worker", "elsewhere:bus")
    running.line("is running")
    mending.run("publish", BOX, "items", '{"item": "bad"}')
    running.note("is a dead letter")
    stop(running)
    assert [] == letters(mending)
    box = ("--box", "sqlite:///dead.db")
    (letter,) = letters(mending, *box)
    mending.run("dead", "edit", BOX, letter.id, '{"item": "milk"}', *box)
    assert f"{letter.id} would go to save of items\n" == mending.run("dead", "redrive", BOX, "--all", "--dry-run", *box)
    assert f"{letter.id} sent to 1 receiver\n" == mending.run("dead", "redrive", BOX, "--all", *box)
    assert [] == letters(mending, *box)
    assert "redriven at" in mending.run("dead", "show", BOX, letter.id, *box)
    running = worker(mending)
    running.line("saved milk")
    stop(running)


def test_a_hostile_letter_steers_no_terminal(mending: Program) -> None:
    """What would move the cursor is written out, in bodies and in names of editors alike."""
    mending.run("publish", BOX, "nobody", "\x1b[2Jgone")
    (letter,) = letters(mending)
    mending.run("dead", "edit", BOX, letter.id, "\x1b[3Jgone", "--by", "\x1b[4Jann")
    shown = mending.run("dead", "show", BOX, letter.id)
    assert "\x1b" not in shown
    assert {r"\x1b[2Jgone", r"\x1b[3Jgone", r"\x1b[4Jann"} <= set(shown.replace(";", " ").split())
    assert "\x1b[2Jgone" == json.loads(mending.run("dead", "show", BOX, letter.id, "--json"))["edits"][0]["body"]
