from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pabal.messagebox.sqlite.turn import WriteTurn


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "box.db")


def test_turn_is_one_writers_at_a_time(path: str) -> None:
    """While one has the turn another waits in vain; released, it comes."""
    first, second = WriteTurn(path), WriteTurn(path)
    assert first.acquire(0)
    assert not second.acquire(0.01)
    first.release()
    assert second.acquire(5)
    second.release()
    first.close()
    second.close()


def test_a_waiter_gets_the_turn_when_it_is_released(path: str) -> None:
    """A wait that began before the release ends with it."""
    first, second = WriteTurn(path), WriteTurn(path)
    assert first.acquire(0)
    got: list[bool] = []
    waiting = threading.Thread(target=lambda: got.append(second.acquire(5)))
    waiting.start()
    while second._waiter is None or not second._waiter._waits:
        pass
    first.release()
    waiting.join()
    assert got == [True]
    second.release()
    assert first.acquire(5)
    first.close()
    second.close()


def test_a_wait_given_up_does_not_keep_the_turn(path: str) -> None:
    """Whoever gave up waiting and never asks again does not hold the turn once it would have come."""
    first, second, third = WriteTurn(path), WriteTurn(path), WriteTurn(path)
    assert first.acquire(0)
    assert not second.acquire(0.01)
    first.release()
    assert third.acquire(5)
    third.release()
    assert second.acquire(5)
    for turn in (first, second, third):
        turn.close()


HOLDING = """
import os, sys, time
from pabal.messagebox.sqlite.turn import WriteTurn
turn = WriteTurn(sys.argv[1])
turn.acquire(0)
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print("held", flush=True)
time.sleep(60)
"""


def test_a_dead_holder_gives_the_turn_back(path: str) -> None:
    """A process that is killed within its turn does not keep it, nor does a child that it had forked."""
    holder = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            HOLDING,
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    turn = WriteTurn(path)
    assert not turn.acquire(0.01)
    holder.kill()
    holder.wait()
    assert turn.acquire(5)
    turn.close()
    holder.stdin.close()  # the child ends
    holder.stdout.close()
