"""``pabal worker``: several share the work, one that dies is replaced, and each ends as it should."""

import os
import re
import signal
import time

import pytest

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import Program, Running, parse

BOX = "sqlite:///box.db"


ASIDE = """
import signal
import threading
from pathlib import Path

from app import bus


def tell() -> None:
    Path("ask").read_bytes()  # until somebody has opened it for writing
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


threading.Thread(target=tell, daemon=True).start()
"""

HASHING = """
import hashlib

from pabal import Bus, Message

bus = Bus("sqlite:///box.db")


@bus.handler("hogging", group="workers")
async def hog(message: Message) -> None:
    print("took", message.id)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes
"""

FORKING = """
import multiprocessing
import time

from pabal import Bus, Message

bus = Bus("sqlite:///box.db")


@bus.handler("jobs", group="workers")
async def fork(message: Message) -> None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    child.start()
    child.terminate()
    child.join()
    print("child ended with", child.exitcode)
"""

LISTENING = """
import asyncio
import signal

from pabal import Bus, Message

bus = Bus("sqlite:///box.db")


@bus.handler("jobs", group="workers")
async def listen(message: Message) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, print, "read the settings again")
    print("took", message.id)
"""

LOUD = """
import os
import time

from pabal import Bus, Message

bus = Bus("sqlite:///box.db")


@bus.handler("hogging", group="workers")
async def hog(message: Message) -> None:
    print("took", message.id)
    while True:
        try:
            os.write(2, b"x" * 100_000)
        except BrokenPipeError:
            time.sleep(0.01)
"""


EXITS = """
import sys

from pabal import Bus

bus = Bus("sqlite:///box.db")


@bus.handler("jobs", group="workers")
async def exits(body: str) -> None:
    sys.exit({code})
"""


def make_group(pabal: Program, channel: str) -> None:
    pabal.run("pull", BOX, channel, "--group", "workers", "--wait", "0")


def publish(pabal: Program, channel: str, count: int = 1) -> list[str]:
    receipts = pabal.lines(shapes.Receipt, "publish", BOX, channel, "job", "--count", str(count))
    return [receipt.id for receipt in receipts]


def started(pabal: Program, **environment: str) -> Running:
    running = pabal.start("worker", "app:bus", environment=environment)
    running.line("app:bus is running 5 handlers on")
    return running


def done(out: str) -> list[str]:
    return [line.removeprefix("did ") for line in out.splitlines() if line.startswith("did ")]


def test_two_workers_share_a_backlog(pabal: Program) -> None:
    """Each takes a part of what waits, and together they do everything once."""
    make_group(pabal, "jobs")
    published = publish(pabal, "jobs", 250)
    both = [started(pabal), started(pabal)]
    for worker in both:
        worker.line("took")  # what each holds now the other has not
    (pabal.folder / "go").touch()
    while any(group.ready or group.leased for group in pabal.lines(shapes.Group, "groups", "list", BOX)):
        pass
    shares = []
    for worker in both:
        worker.process.terminate()
        shares.append(done(worker.end()[0]))
    assert [] not in shares
    assert sorted(published) == sorted(shares[0] + shares[1])


def test_what_a_killed_worker_held_goes_to_another(pabal: Program) -> None:
    """A worker that is killed has acked nothing: within its lease another one does its work."""
    make_group(pabal, "jobs")
    published = publish(pabal, "jobs", 5)
    victim = started(pabal, LEASE="1")
    victim.line("took")
    heir = started(pabal, LEASE="1")
    victim.process.kill()
    killed = time.monotonic()
    assert [] == done(victim.end(-signal.SIGKILL)[0])
    (pabal.folder / "go").touch()
    did: set[str] = set()
    while did != set(published):  # a machine too busy to extend such a short lease has some done twice
        did.add(heir.line("did ").removeprefix("did "))
    assert 25 > time.monotonic() - killed  # the lease is one second, and by default 30
    heir.process.terminate()
    heir.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_drains_and_reports(number: signal.Signals, pabal: Program) -> None:
    """What runs is finished, what has not started stays in the group, and the report says so."""
    make_group(pabal, "jobs")
    worker = started(pabal)
    published = publish(pabal, "jobs", 3)
    worker.line("took")
    worker.process.send_signal(number)
    worker.note("draining")
    (pabal.folder / "go").touch()
    out, err = worker.end()
    finished = done(out)
    assert published[: len(finished)] == finished != []
    report = rf"app:bus drained in \d+\.\d s: {len(finished)} handled, \d given back, 0 unfinished"
    assert re.fullmatch(report, out.splitlines()[-1])
    assert "Traceback" not in err
    (group,) = (each for each in pabal.lines(shapes.Group, "groups", "list", BOX) if each.channel == "jobs")
    assert (3 - len(finished), 0, 0) == (group.ready, group.leased, group.members)


@pytest.mark.parametrize("channel", ["stuck", "threads"])
def test_a_second_signal_ends_at_once(channel: str, pabal: Program) -> None:
    """Even with a handler in a thread, which nothing can cancel; the report names what was left, and it failed."""
    make_group(pabal, channel)
    worker = started(pabal)
    (published,) = publish(pabal, channel)
    worker.line("took")
    worker.process.send_signal(signal.SIGTERM)
    worker.note("draining")
    worker.process.send_signal(signal.SIGTERM)
    out, _ = worker.end(1)
    assert "1 unfinished" in out
    assert f"{published} on {channel}" in out


def test_a_second_signal_ends_a_handler_that_leaves_nothing_a_turn(pabal: Program) -> None:
    """A handler that blocks the event loop cannot hold the process."""
    make_group(pabal, "hogging")
    worker = started(pabal)
    publish(pabal, "hogging")
    worker.line("took")
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGINT)
    assert "ended at once" in worker.end(1)[1]


def test_a_second_signal_ends_a_handler_in_a_call_that_runs_no_python(pabal: Program) -> None:
    """Python itself hears of a signal when such a call returns, and so must not be waited for."""
    (pabal.folder / "hashing.py").write_text(HASHING)
    make_group(pabal, "hogging")
    worker = pabal.start("worker", "hashing:bus")
    publish(pabal, "hogging")
    worker.line("took")
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGINT)
    assert "ended at once" in worker.end(1)[1]


def test_what_a_forked_child_is_sent_is_its_own(pabal: Program) -> None:
    """It ends the child that a handler has forked, and the worker goes on."""
    (pabal.folder / "forking.py").write_text(FORKING)
    make_group(pabal, "jobs")
    worker = pabal.start("worker", "forking:bus")
    publish(pabal, "jobs", 2)
    assert [f"child ended with {-signal.SIGTERM}"] * 2 == [worker.line("child ended").strip() for _ in range(2)]
    worker.process.terminate()
    assert "2 handled" in worker.end()[0]


def test_a_handler_may_listen_to_other_signals(pabal: Program) -> None:
    """It hears them, and those that end the worker are heard too."""
    (pabal.folder / "listening.py").write_text(LISTENING)
    make_group(pabal, "jobs")
    worker = pabal.start("worker", "listening:bus")
    publish(pabal, "jobs")
    worker.line("took")
    worker.process.send_signal(signal.SIGHUP)
    worker.line("read the settings again")
    worker.process.terminate()
    worker.note("draining")
    worker.end()


def test_a_signal_is_heard_whichever_thread_it_comes_to(pabal: Program) -> None:
    """The system may give it to any thread, while the event loop waits for something that is long in coming."""
    (pabal.folder / "aside.py").write_text(ASIDE)
    os.mkfifo(pabal.folder / "ask")
    worker = pabal.start("worker", "aside:bus", environment={"LEASE": "3600"})
    worker.line("is running")
    (pabal.folder / "ask").write_bytes(b"")
    worker.note("draining")
    worker.end()


@pytest.mark.parametrize("reads", [True, False], ids=["it sleeps", "it is gone"])
def test_a_second_signal_needs_no_reader(reads: bool, pabal: Program) -> None:
    """Whoever should read its standard error cannot keep it from ending."""
    (pabal.folder / "loud.py").write_text(LOUD)
    make_group(pabal, "hogging")
    worker = pabal.start("worker", "loud:bus")
    worker.line("is running")
    if not reads:
        worker.err.close()
    publish(pabal, "hogging")
    worker.line("took")
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGINT)
    assert 1 == worker.process.wait(60)


@pytest.mark.parametrize("options", [[], ["--processes", "1"], ["--reload"]], ids=["alone", "supervised", "reloading"])
def test_a_drain_needs_no_reader_of_its_notes(options: list[str], pabal: Program) -> None:
    """Once nobody reads its standard error, a signal drains it all the same."""
    make_group(pabal, "jobs")
    worker = pabal.start("worker", "app:bus", *options)
    worker.line("is running")
    (published,) = publish(pabal, "jobs")
    worker.line("took")
    worker.err.close()
    worker.process.terminate()
    (pabal.folder / "go").touch()
    worker.line(f"did {published}")
    worker.line("1 handled, 0 given back, 0 unfinished")
    assert 0 == worker.process.wait(60)


@pytest.mark.parametrize("code", [0, 2])
def test_a_handler_that_exits_is_a_failure(code: int, pabal: Program) -> None:
    """Whatever it exits with: 0 would say that all is done, and 2 that the worker could not start."""
    (pabal.folder / "exits.py").write_text(EXITS.format(code=code))
    make_group(pabal, "jobs")
    publish(pabal, "jobs")
    assert f"SystemExit: {code}" in pabal.outcome("worker", "exits:bus", code=1)[1]


def test_several_buses_in_one_process_and_as_json(pabal: Program) -> None:
    """A line when each is running, a line when each is drained."""
    worker = pabal.start("worker", "app:bus", "app:other", "--json")
    lines = [worker.line("running"), worker.line("running")]
    worker.process.terminate()
    lines += worker.end()[0].splitlines()
    events = [parse(line, shapes.RunningBus | shapes.Drained) for line in lines]  # type: ignore[arg-type]  # a union
    assert ["app:bus", "app:other"] * 2 == [event.bus for event in events]
    drained = events[-1]
    assert isinstance(drained, shapes.Drained)
    assert [] == drained.unfinished
    assert [0] == [counters["acked"] for counters in drained.handlers.values()]
