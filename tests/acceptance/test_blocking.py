"""The bus for code without an event loop."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from pabal import (
    Backoff,
    Bus,
    Channel,
    ConfigurationError,
    ConnectionFailed,
    Context,
    NoResponders,
    Outgoing,
    PublishError,
    Reject,
    Settlement,
)
from pabal.runtime.loops import LoopThread


class Item(msgspec.Struct):
    name: str


Items = Channel("items.new", Item)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'box.db'}?synchronous=normal"


@contextmanager
def running(bus: Bus) -> Iterator[None]:
    """The handlers of a bus, run by a loop elsewhere."""
    loop = LoopThread()
    try:
        with loop.entered(bus.running()):
            yield
    finally:
        loop.stop()


def test_all_that_a_bus_does(url: str) -> None:
    """Publishing, asking, gathering, pulling and dead letters, each by the method of the same name."""
    service = Bus(url)

    @service.handler("double", group="g")
    async def double(number: int) -> int:
        return 2 * number

    @service.handler(Items, group="save", retry=Backoff(attempts=1))
    async def save(item: Item) -> None:
        if item.name == "bad":
            raise Reject("it is bad")

    with running(service), Bus(url).blocking() as bus:
        assert bus.publish(Items, Item("milk"), key="k", headers={"a": "b"}).routed
        assert [receipt.routed for receipt in bus.publish_many("items.new", [Item("tea"), Outgoing(Item("bad"))])] == [
            True,
            True,
        ]
        assert bus.request("double", 21, reply=int) == 42
        assert bus.gather("double", 4, reply=int, wait=3600.0) == [8]
        with pytest.raises(NoResponders):
            bus.request("nobody", None)

        with bus.consumer("pulled", group="g", type=Item) as consumer:
            bus.publish("pulled", Item("x"))
            bus.publish("pulled", Item("y"))
            first, second = consumer.pull(max=5, wait=20.0) + consumer.pull(max=5, wait=0.0) or []
            assert (first.value, first.attempt, first.message.channel) == (Item("x"), 1, "pulled")
            assert first.ack() is Settlement.DONE
            assert first.ack() is Settlement.LOST
            assert second.reject("no") is Settlement.DONE

        def letters() -> list[str]:
            return sorted(letter.message.channel for letter in bus.dead_letters.list())

        while letters() != ["items.new", "pulled"]:
            assert letters() in (["pulled"], ["items.new", "pulled"])
        (letter,) = bus.dead_letters.list(channel="pulled")
        assert bus.dead_letters.show(letter.id).reason == "rejected"
        assert bus.dead_letters.discard([letter.id]) == 1
        assert [redriven.error for redriven in bus.dead_letters.redrive(all=True)] == [None]


def test_errors_are_raised_where_the_call_was_made(url: str) -> None:
    """With the class they have, and the caller's line in the traceback."""
    with Bus(url + "&max_body=10").blocking() as bus:
        with pytest.raises(PublishError) as error:
            bus.publish("a", b"x" * 11)
        assert "test_blocking.py" in "".join(traceback.format_exception(error.value))
        with pytest.raises(ConfigurationError, match="no dead letter"):
            bus.dead_letters.show("1")
        with pytest.raises(ValueError, match="the caller's"), bus.consumer("a", group="g"):
            raise ValueError("the caller's")


def test_many_threads(url: str) -> None:
    """Any number of threads call at once, and connect once."""
    bus = Bus(url).blocking()
    with bus, bus.consumer("a", group="g") as consumer, ThreadPoolExecutor(16) as threads:
        receipts = list(threads.map(lambda number: bus.publish("a", number), range(200)))
        assert all(receipt.routed for receipt in receipts)
        got: list[int] = []
        while len(got) < 200:
            pulled = consumer.pull(max=100, wait=20.0)
            got += [one.value for one in pulled]
            assert list(threads.map(lambda one: one.ack(), pulled)) == [Settlement.DONE] * len(pulled)
        assert sorted(got) == list(range(200))
        assert len([thread for thread in threading.enumerate() if thread.name == "pabal blocking"]) == 1
    assert [thread for thread in threading.enumerate() if thread.name == "pabal blocking"] == []


def test_it_connects_when_it_is_used(tmp_path: Path) -> None:
    """Making one opens nothing; one that was never used closes at once."""
    bus = Bus(f"sqlite:///{tmp_path / 'box.db'}")
    with bus.blocking():
        pass
    assert list(tmp_path.iterdir()) == []
    with bus.blocking() as blocking:
        blocking.publish("a", 1)
    assert (tmp_path / "box.db").exists()


def test_once_closed_it_stays_closed(url: str) -> None:
    """A new one is made from the same bus; what belonged to the old one says so."""
    bus = Bus(url)
    with bus.blocking() as blocking:
        blocking.publish("a", 1)
        letters = blocking.dead_letters.list()
        next(letters)
        with blocking.consumer("a", group="g") as consumer:
            pass
        with pytest.raises(ConnectionFailed):
            consumer.pull()
    blocking.close()
    with pytest.raises(ConfigurationError, match=r"make a new one with bus.blocking\(\)"):
        blocking.publish("a", 1)
    with pytest.raises(ConnectionFailed, match="closed"):
        consumer.pull()
    del letters
    gc.collect()
    with bus.blocking() as again:
        again.publish("a", 1)


async def test_it_refuses_to_block_a_loop(url: str) -> None:
    """In the event loop it would hold up everything, itself too; on a thread it does not."""
    bus = Bus(url)
    blocking = bus.blocking()
    with pytest.raises(ConfigurationError, match=r"asyncio\.to_thread"):
        blocking.publish("a", 1)
    receipt = await asyncio.to_thread(blocking.publish, "a", 1)
    assert receipt.routed is False
    with pytest.raises(ConfigurationError, match=r"asyncio\.to_thread"):
        blocking.close()
    await asyncio.to_thread(blocking.publish, "a", 2)
    await asyncio.to_thread(blocking.close)


async def test_a_loop_and_threads_use_one_bus(url: str) -> None:
    """The bus stays with its loop; threads have a connection of their own to the same place."""
    bus, got = Bus(url), asyncio.Event()

    @bus.handler("a", group="g")
    async def handler(body: str, context: Context) -> None:
        got.set()

    async with bus.running():
        with bus.blocking() as blocking:
            assert (await asyncio.to_thread(blocking.publish, "a", "x")).routed
            await asyncio.wait_for(got.wait(), 20.0)
            await asyncio.to_thread(blocking.close)


def test_a_test_without_a_loop() -> None:
    """Handlers run on a private memory://, and whatever blocks on the same bus reaches them."""
    bus = Bus("sqlite:////nowhere/it/can/be.db", retry=Backoff(attempts=2))
    web = bus.blocking()

    @bus.handler(Items, group="save")
    async def save(item: Item, context: Context) -> None:
        if item.name == "bad":
            raise ValueError("it is bad")
        await context.publish("items.saved", item)

    for _ in range(2):
        with bus.blocking().testing() as trial:
            web.publish(Items, Item("milk"))
            web.publish(Items, Item("bad"))
            trial.settled()
            assert trial.values("items.saved", Item) == [Item("milk")]
            assert sorted(message.channel for message in trial.published) == ["items.new", "items.new", "items.saved"]
            assert [letter.reason for letter in trial.dead_letters] == ["unrouted"]
            trial.advance(60.0)
            assert sorted(letter.reason for letter in web.dead_letters.list()) == ["exhausted", "unrouted"]
    web.close()


async def test_threads_reach_the_test_of_a_loop() -> None:
    """What code under test publishes from its threads goes to the test's memory://."""
    bus, seen = Bus("sqlite:////nowhere/it/can/be.db"), list[str]()
    web = bus.blocking()

    @bus.handler("a", group="g")
    async def handler(body: str) -> None:
        seen.append(body)

    async with bus.testing() as trial:
        await asyncio.to_thread(web.publish, "a", "x")
        await trial.settled()
        assert seen == ["x"]
        with pytest.raises(ConfigurationError, match=r"asyncio\.to_thread"):
            web.publish("a", "y")


def test_an_interrupted_call_is_called_off(url: str) -> None:
    """Ctrl-C ends the wait and what it waited for; the bus goes on."""
    program = f"""
import os, signal, threading
from pabal import Bus
bus = Bus({url!r}).blocking()
with bus.consumer("a", group="g") as consumer:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        consumer.pull(wait=60.0)
    except KeyboardInterrupt:
        print("interrupted")
    bus.publish("a", 1)
    print(consumer.pull(wait=20.0)[0].value)
"""
    assert run(program) == "interrupted\n1\n"


def test_a_process_that_never_closes_it_ends_cleanly(url: str) -> None:
    """Without ``with`` it is closed when the process ends."""
    assert run(f"from pabal import Bus\nprint(Bus({url!r}).blocking().publish('a', 1).routed)") == "False\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_connects_anew(url: str) -> None:
    """A server may load the application, even use it, and then fork its workers."""
    program = f"""
import os
from pabal import Bus
bus = Bus({url!r}).blocking()
with bus.consumer("a", group="g"):
    bus.publish("a", "from the parent")
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            bus.publish("a", f"from child {{number}}")
            raise SystemExit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    bus.publish("a", "from the parent again")
with bus.consumer("a", group="g") as consumer:
    got = []
    while len(got) < 5:
        got += [(pulled.value, pulled.ack()) for pulled in consumer.pull(max=10, wait=20.0)]
print(*sorted(value for value, _ in got), sep="\\n")
"""
    expected = [*(f"from child {number}" for number in range(3)), "from the parent", "from the parent again"]
    assert run(program).splitlines() == expected


def run(program: str) -> str:
    """What a program of its own prints; its warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
