"""``pabal dead`` and ``pabal groups``: what an operator does with what was not delivered."""

import os
import pty
import subprocess

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import SCRIPT, Program, parse

BOX = "sqlite:///box.db"


def letters(pabal: Program, *options: str) -> list[shapes.Letter]:
    return pabal.lines(shapes.Letter, "dead", "list", BOX, *options)


def test_what_nobody_listened_to_is_kept_and_can_be_sent_again(pabal: Program) -> None:
    """Published into the void, listed as unrouted, redriven to who listens now: once, with its id and time."""
    (receipt,) = pabal.lines(shapes.Receipt, "publish", BOX, "channel21", "ping")
    (letter,) = letters(pabal)
    assert (receipt.id, "channel21", None, "unrouted", [], "ping") == (
        letter.message_id,
        letter.channel,
        letter.group,
        letter.reason,
        letter.attempts,
        letter.body,
    )
    (stays,) = pabal.lines(shapes.Redriven, "dead", "redrive", BOX, "--all", code=1)
    assert (letter.id, receipt.id) == (stays.id, stays.message_id)
    assert stays.error is not None
    assert [letter.id] == [each.id for each in letters(pabal)]

    subscriber = pabal.start("subscribe", BOX, "channel21", "--group", "g", "--json")
    subscriber.note("subscribed")
    assert f"{letter.id} sent to 1 receiver\n" == pabal.run("dead", "redrive", BOX, "--all")
    message = parse(subscriber.line("ping"), shapes.Message)
    assert (receipt.id, 1, "g") == (message.id, message.attempt, message.group)
    assert message.time <= letter.parked
    assert [] == letters(pabal)
    subscriber.process.terminate()
    assert "" == subscriber.end()[0]
    (group,) = pabal.lines(shapes.Group, "groups", "list", BOX)
    assert (0, 0, 0) == (group.ready, group.waiting, group.leased)


def test_a_failed_message_shows_where_it_failed(pabal: Program) -> None:
    """A dead letter keeps every attempt with its traceback, and goes back to the group that failed only."""
    worker = pabal.start("worker", "app:bus")
    worker.line("is running")
    audience = pabal.start("subscribe", BOX, "fails", "--group", "audience", "--json")
    audience.note("subscribed")
    pabal.run("publish", BOX, "fails", "{}")
    audience.line("fails")
    worker.process.terminate()
    worker.end()
    (letter,) = letters(pabal, "--group", "workers", "--reason", "exhausted", "--channel", "fails")
    assert ["LookupError: no such user"] == [attempt.error for attempt in letter.attempts]
    assert 'raise LookupError("no such user")' in letter.attempts[0].traceback
    assert [] == letters(pabal, "--group", "audience")
    table = pabal.run("dead", "list", BOX)
    assert ["id", "reason", "channel", "group", "age", "attempts", "last", "error"] == table.splitlines()[0].split()
    assert "LookupError: no such user" in table.splitlines()[1]
    shown = pabal.run("dead", "show", BOX, letter.id)
    assert "Traceback" in shown
    assert [letter] == pabal.lines(shapes.Letter, "dead", "show", BOX, letter.id)
    (redriven,) = pabal.lines(shapes.Redriven, "dead", "redrive", BOX, letter.id)
    assert (letter.id, letter.message_id, 1, None) == (
        redriven.id,
        redriven.message_id,
        redriven.receivers,
        redriven.error,
    )
    listed = pabal.lines(shapes.Group, "groups", "list", BOX)
    assert {"audience": 0, "workers": 1} == {group.group: group.ready for group in listed if group.channel == "fails"}


def test_discarding_deletes_what_is_named(pabal: Program) -> None:
    """By id or all of them; an id that is none is a failure."""
    pabal.run("publish", BOX, "channel21", "ping", "--count", "4")
    first, *_ = [letter.id for letter in letters(pabal)]
    assert "discarded 1 dead letter\n" == pabal.run("dead", "discard", BOX, first, first)
    out, err = pabal.outcome("dead", "discard", BOX, first, code=1)
    assert "discarded 0 dead letters\n" == out
    assert 1 == len(err.splitlines())
    assert [shapes.Discarded(discarded=3)] == pabal.lines(shapes.Discarded, "dead", "discard", BOX, "--all")
    out, err = pabal.outcome("dead", "list", BOX)
    assert ("", "no dead letters\n") == (out, err)
    assert ("", "no dead letters\n") == pabal.outcome("dead", "redrive", BOX, "--all")


def test_discarding_asks_at_a_terminal(pabal: Program) -> None:
    """A person confirms; no leaves everything as it was, and --yes does not ask."""
    pabal.run("publish", BOX, "channel21", "ping", "--count", "2")
    for typed, code, left in ((b"n\n", 1, 2), (b"y\n", 0, 0)):
        ours, theirs = pty.openpty()
        running = pabal.start("dead", "discard", BOX, "--all", stdin=theirs)
        os.write(ours, typed)
        assert "Delete 2 dead letters" in running.end(code)[1]
        os.close(ours)
        os.close(theirs)
        assert left == len(letters(pabal))


def test_a_removed_groups_messages_become_dead_letters(pabal: Program) -> None:
    """Unless they are to be deleted; a group that somebody reads is not removed."""
    for group in ("kept", "deleted"):
        pabal.run("pull", BOX, "channel21", "--group", group, "--wait", "0")
    pabal.run("publish", BOX, "channel21", "ping", "--count", "2")
    listed = pabal.lines(shapes.Group, "groups", "list", BOX)
    assert [("deleted", 2, 0), ("kept", 2, 0)] == [(group.group, group.ready, group.members) for group in listed]
    assert "kept" in pabal.run("groups", "list", BOX)

    (removed,) = pabal.lines(shapes.Removed, "groups", "remove", BOX, "channel21", "deleted", "--discard")
    assert shapes.Removed(channel="channel21", group="deleted", backlog=2, discarded=True) == removed
    assert [] == letters(pabal)

    reader = pabal.start("subscribe", BOX, "other", "--group", "kept")
    reader.note("subscribed")
    assert "pabal: " in pabal.outcome("groups", "remove", BOX, "other", "kept", code=2)[1]

    out = pabal.run("groups", "remove", BOX, "channel21", "kept")
    assert "removed group kept of channel21 and made 2 dead letters of it\n" == out
    assert ["removed", "removed"] == [letter.reason for letter in letters(pabal)]


def test_long_work_shows_its_progress_at_a_terminal(pabal: Program) -> None:
    """A person sees a bar on standard error; standard output has the results and nothing else."""
    pabal.run("publish", BOX, "channel21", "ping", "--count", "150")
    ours, theirs = pty.openpty()
    arguments = [*SCRIPT, "dead", "redrive", BOX, "--all", "--json"]
    done = subprocess.run(arguments, cwd=pabal.folder, stdout=subprocess.PIPE, stderr=theirs, text=True, check=False)
    os.close(theirs)
    assert b"redriving" in os.read(ours, 10_000)
    os.close(ours)
    assert 150 == len([parse(line, shapes.Redriven) for line in done.stdout.splitlines()])


def test_a_long_list_is_one_table(pabal: Program) -> None:
    """However many there are: printed a page at a time, with one heading, and columns that stand in line."""
    pabal.run("publish", BOX, "channel21", "ping", "--count", "450")
    heading, *rows = pabal.run("dead", "list", BOX).splitlines()
    assert [str(number) for number in range(1, 451)] == [row.split()[0] for row in rows]
    assert {heading.index("channel")} == {row.index("channel21") for row in rows}
