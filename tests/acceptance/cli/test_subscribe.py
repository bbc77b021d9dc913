"""``pabal subscribe``: what is printed, what is taken, and how it ends."""

import signal

import pytest

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import Program, parse

BOX = "sqlite:///box.db"


def test_a_listener_gets_a_copy_of_each(pabal: Program) -> None:
    """Without a group every subscriber prints every message, and says on standard error when it is ready."""
    both = [pabal.start("subscribe", BOX, "channel21", "--count", "1", "--json") for _ in range(2)]
    for running in both:
        assert "subscribed to channel21" == running.note("subscribed")
    (receipt,) = pabal.lines(shapes.Receipt, "publish", BOX, "channel21", "ping")
    for running in both:
        message = parse(running.end()[0], shapes.Message)
        assert (receipt.id, "channel21", None, 1, "ping") == (
            message.id,
            message.channel,
            message.group,
            message.attempt,
            message.body,
        )


def test_a_member_takes_exactly_so_many(pabal: Program) -> None:
    """--count N takes N from the group; the rest stays there, untouched."""
    pabal.run("pull", BOX, "channel21", "--group", "g", "--wait", "0")
    published = pabal.lines(shapes.Receipt, "publish", BOX, "channel21", "ping", "--count", "5")
    taken = pabal.lines(shapes.Message, "subscribe", BOX, "channel21", "--group", "g", "--count", "2")
    assert ["g", "g"] == [message.group for message in taken]
    rest = pabal.lines(shapes.Message, "pull", BOX, "channel21", "--group", "g", "--max", "10", "--ack")
    assert [receipt.id for receipt in published] == [message.id for message in taken + rest]
    assert [1, 1, 1] == [message.attempt for message in rest]


def test_a_person_reads_channel_and_body_first(pabal: Program) -> None:
    """Two lines a message; what would steer the terminal is written out."""
    running = pabal.start("subscribe", BOX, "events.>", "--count", "1")
    running.note("subscribed")
    pabal.run("publish", BOX, "events.a", "-", "--key", "k", "--header", "x=1", stdin=b"red \x1b[31m\nsecond")
    out, _ = running.end()
    first, second, third = out.splitlines()
    assert ("events.a  red \\x1b[31m", "  second") == (first, second)
    assert third.startswith("  id ")
    assert third.endswith("key k, x=1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("group", [[], ["--group", "g"]], ids=["listener", "member"])
def test_a_signal_drains_and_is_no_failure(number: signal.Signals, group: list[str], pabal: Program) -> None:
    """Ctrl-C is how it is meant to end."""
    running = pabal.start("subscribe", BOX, "channel21", *group)
    running.note("subscribed")
    pabal.run("publish", BOX, "channel21", "ping")
    running.line("ping")
    running.process.send_signal(number)
    assert "" == running.end()[1]
    if group:
        (left,) = pabal.lines(shapes.Group, "groups", "list", BOX)
        assert (0, 0, 0, 0) == (left.ready, left.waiting, left.leased, left.members)


def test_a_reader_that_leaves_ends_it_quietly_and_loses_nothing(pabal: Program) -> None:
    """In ``pabal subscribe ... | head -1`` the message that could not be printed stays in the group."""
    running = pabal.start("subscribe", BOX, "channel21", "--group", "g", "--json")
    running.note("subscribed")
    pabal.run("publish", BOX, "channel21", "first")
    assert "first" == parse(running.line("first"), shapes.Message).body
    running.out.close()
    pabal.run("publish", BOX, "channel21", "second")
    assert 0 == running.process.wait(60)
    assert "" == running.err.read()
    (left,) = pabal.lines(shapes.Message, "pull", BOX, "channel21", "--group", "g")
    assert ("second", 1) == (left.body, left.attempt)


def test_a_reader_that_stops_reading_holds_up_no_signal(pabal: Program) -> None:
    """While nobody takes the output, Ctrl-C still ends it, and what was not printed stays in the group."""
    running = pabal.start("subscribe", BOX, "channel21", "--group", "g")
    running.note("subscribed")
    pabal.run("publish", BOX, "channel21", "-", stdin=b"x" * 1_000_000)
    assert "channel21" == running.out.read(9)
    running.process.send_signal(signal.SIGTERM)
    assert 0 == running.process.wait(60)
    (left,) = pabal.lines(shapes.Group, "groups", "list", BOX)
    assert (1, 0) == (left.ready, left.leased)
