"""``pabal publish``: what is sent, and what it says about who got it."""

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import SCRIPT, Program

BOX = "sqlite:///box.db"


def make_group(pabal: Program, channel: str, group: str) -> None:
    """A group that keeps what is published from now on."""
    pabal.run("pull", BOX, channel, "--group", group, "--wait", "0")


def pulled(pabal: Program, channel: str) -> list[shapes.Message]:
    return pabal.lines(shapes.Message, "pull", BOX, channel, "--group", "g", "--max", "100", "--ack")


def test_it_prints_how_many_receivers_got_it(pabal: Program) -> None:
    """As redis-cli does, one line a message; nobody at all is said in words."""
    out = pabal.run("publish", BOX, "channel21", "ping")
    assert "0 receivers: nobody listens, so it became a dead letter\n" == out
    make_group(pabal, "channel21", "a")
    assert "1 receiver\n" == pabal.run("publish", BOX, "channel21", "ping")
    make_group(pabal, "channel21", "b")
    assert "2 receivers\n" * 3 == pabal.run("publish", BOX, "channel21", "ping", "--count", "3", "--every", "10ms")


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ("", "0 receivers: nobody listens, so it became a dead letter (the transport keeps them, as long as it runs"),
        ("settles,parks", "0 receivers: nobody listens, so it became a dead letter (parked in sqlite:///"),
        ("counts_receivers", "0 receivers: nobody listens, so it became a dead letter ("),
        ("detects_unrouted,counts_receivers", "taken; receivers unknown (the transport cannot know whether anybody"),
    ],
)
def test_what_nobody_takes_is_told_as_it_is(lacks: str, said: str, altered: Program) -> None:
    """Where the dead letter is, how long it is kept, and whether there is one at all."""
    assert altered.run("publish", f"altered://a?lacks={lacks}", "channel21", "ping").startswith(said)


def test_what_nobody_would_keep_is_not_published(altered: Program) -> None:
    """A transport that settles and keeps no dead letters is refused, with the way out."""
    err = altered.outcome("publish", "altered://a?lacks=parks,groups", "channel21", "ping", code=2)[1]
    assert "dead_letters=" in err


def test_receipts_as_json(pabal: Program) -> None:
    """With --json a line is a receipt: the id, whether somebody takes it, and how many."""
    (nobody,) = pabal.lines(shapes.Receipt, "publish", BOX, "channel21", "ping")
    assert (False, 0) == (nobody.routed, nobody.receivers)
    make_group(pabal, "channel21", "g")
    receipts = pabal.lines(shapes.Receipt, "publish", BOX, "channel21", "ping", "--count", "2")
    assert [(True, 1)] * 2 == [(receipt.routed, receipt.receivers) for receipt in receipts]
    assert [receipt.id for receipt in receipts] == [message.id for message in pulled(pabal, "channel21")]


TYPED = [
    ('{"item": "buy milk"}', {"item": "buy milk"}),
    ("[1, 2]", [1, 2]),
    (' {"a": 1.10}\n', {"a": 1.1}),
    ("ping", "ping"),
    ("5", "5"),
    ('"quoted"', '"quoted"'),
    ("{broken", "{broken"),
    ("", ""),
    ("두부 사기", "두부 사기"),
]


@pytest.mark.parametrize("by_stdin", [False, True], ids=["argument", "stdin"])
def test_a_body_that_is_a_json_object_or_array_is_sent_as_json(by_stdin: bool, pabal: Program) -> None:
    """Other text is sent as text, byte by byte; standard input is no different."""
    make_group(pabal, "channel21", "g")
    for typed, _ in TYPED:
        if by_stdin:
            pabal.run("publish", BOX, "channel21", "-", stdin=typed.encode())
        else:
            pabal.run("publish", BOX, "channel21", typed)
    assert [body for _, body in TYPED] == [message.body for message in pulled(pabal, "channel21")]


def test_numbers_keep_their_digits(pabal: Program) -> None:
    """JSON passes as it was given: no number is rounded on its way in or out."""
    make_group(pabal, "channel21", "g")
    body = '{"price":1.10,"account":12345678901234567890123}'
    pabal.run("publish", BOX, "channel21", body)
    assert body in pabal.run("pull", BOX, "channel21", "--group", "g", "--json")


def test_what_is_no_text_comes_as_base64(pabal: Program) -> None:
    """Bytes that are no UTF-8 are sent as they are, and shown so that they can be had back."""
    make_group(pabal, "channel21", "g")
    pabal.run("publish", BOX, "channel21", "-", stdin=b"\xff\x00")
    (message,) = pulled(pabal, "channel21")
    assert "/wA=" == message.body_base64


def test_key_headers_and_id_arrive(pabal: Program) -> None:
    """Options reach the receiver; a header's value may have an = in it."""
    make_group(pabal, "channel21", "g")
    options = ["--key", "user-7", "--header", "trace=a=b", "--header", "lang=ko", "--id", "mine"]
    pabal.run("publish", BOX, "channel21", "ping", *options)
    (message,) = pulled(pabal, "channel21")
    assert ("mine", "user-7", {"trace": "a=b", "lang": "ko"}) == (message.id, message.key, message.headers)


def test_a_delayed_message_waits(pabal: Program) -> None:
    """--delay keeps a message from everyone until its time."""
    make_group(pabal, "channel21", "g")
    pabal.run("publish", BOX, "channel21", "later", "--delay", "1h")
    assert [] == pulled(pabal, "channel21")
    (group,) = pabal.lines(shapes.Group, "groups", "list", BOX)
    assert (0, 1) == (group.ready, group.waiting)


def test_an_expired_message_becomes_a_dead_letter(pabal: Program) -> None:
    """--expires is kept: nobody gets what has lost its worth, and it is not lost in silence."""
    make_group(pabal, "channel21", "g")
    pabal.run("publish", BOX, "channel21", "stale", "--expires", "0")
    assert [] == pulled(pabal, "channel21")
    (letter,) = pabal.lines(shapes.Letter, "dead", "list", BOX)
    assert ("expired", "stale") == (letter.reason, letter.body)


def test_an_output_that_takes_no_more_is_an_error_in_a_line(pabal: Program) -> None:
    """A full disk under the output is told, with no traceback behind it."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    arguments = [*SCRIPT, "publish", BOX, "channel21", "ping"]
    with full.open("wb") as output:
        process = subprocess.run(
            arguments, cwd=pabal.folder, stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
    assert 1 == process.returncode
    assert 1 == len(process.stderr.splitlines()), process.stderr
