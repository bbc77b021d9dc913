"""``pabal request`` and ``pabal pull``."""

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import Program

BOX = "sqlite:///box.db"


def test_a_request_prints_its_answer(pabal: Program) -> None:
    """JSON as JSON, text as text; what went wrong is one line and exit code 1."""
    worker = pabal.start("worker", "app:other")
    worker.line("is running")

    def ask(body: str) -> str:
        return pabal.run("request", BOX, "questions", body)

    assert '{"n":[1,2.5]}\n' == ask('{"answer": {"n": [1, 2.5]}}')
    assert "두부\n" == ask('{"answer": "두부"}')
    assert "null\n" == ask('{"answer": null}')
    assert [shapes.Answer(body=7)] == pabal.lines(shapes.Answer, "request", BOX, "questions", '{"answer": 7}')
    out, err = pabal.outcome("request", BOX, "questions", '{"fail": "no such user"}', code=1)
    assert ("", "pabal: LookupError: no such user\n") == (out, err)


def test_a_request_that_nobody_answers_in_time_fails(pabal: Program) -> None:
    """A listener is there and never answers: the request ends with its timeout."""
    listener = pabal.start("subscribe", BOX, "questions")
    listener.note("subscribed")
    err = pabal.outcome("request", BOX, "questions", "{}", "--timeout", "200ms", code=1)[1]
    assert "pabal: no answer to questions within 0.2 s\n" == err


def test_pulling_without_ack_gives_all_back(pabal: Program) -> None:
    """Looking takes nothing, and says so; with --ack it is taken for good."""
    look = ["pull", BOX, "channel21", "--group", "g", "--max", "10"]
    out, err = pabal.outcome(*look, "--wait", "0")
    assert ("", "nothing is ready in group g of channel21\n") == (out, err)
    pabal.run("publish", BOX, "channel21", "ping", "--count", "3")
    for _ in range(2):
        out, err = pabal.outcome(*look, "--json")
        assert (3, "gave 3 messages back; --ack takes what is printed\n") == (len(out.splitlines()), err)
    taken = pabal.lines(shapes.Message, *look, "--ack")
    assert [("ping", "g", 1)] * 3 == [(message.body, message.group, message.attempt) for message in taken]
    assert "" == pabal.run(*look)


def test_pulling_waits_for_a_message(pabal: Program) -> None:
    """--wait is for the first message that comes."""
    pabal.run("pull", BOX, "channel21", "--group", "g", "--wait", "0")
    running = pabal.start("pull", BOX, "channel21", "--group", "g", "--wait", "1m")
    pabal.run("publish", BOX, "channel21", "ping")
    running.line("channel21  ping")
    running.end()
