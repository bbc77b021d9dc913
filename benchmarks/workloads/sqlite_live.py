"""One file, a publishing and a working process at once, against the raw loop and against huey and persist-queue."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.load import DICTS, ORDERS, Order, Tally
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import Ready, alone, together
from benchmarks.raw import handle_orders, insert_orders, make_raw_box, raw_box
from benchmarks.worker import count_orders, publish_orders, settled
from pabal import Bus

_POLL = 0.001
_PATIENCE = 60.0  # seconds: with less, the peers fail on a slow disk, where SQLite keeps one of two writers waiting


def raw_loop(stage: Stage) -> Figures:
    """The raw loop."""
    total = stage.count(40_000)
    path = make_raw_box(stage.folder / "raw.db")
    return {"raw loop": _rate(total, *together(partial(_insert, path, total), partial(_handle, path, total)))}


def _rate(total: int, started: float, ended: float) -> float:
    return total / (ended - started)


def _insert(path: Path, total: int, ready: Ready) -> float:
    with raw_box(path) as connection:
        ready()
        started = time.monotonic()
        insert_orders(connection, total)
    return started


def _handle(path: Path, total: int, ready: Ready) -> float:
    with raw_box(path) as connection:
        ready()
        handle_orders(connection, Tally(total))
        return time.monotonic()


def pabal(stage: Stage) -> Figures:
    """pabal, publish_many of 100, every publish safe from a loss of power."""
    total = stage.count(40_000)
    url = stage.url()
    return {"pabal": _rate(total, *together(partial(_publish, url, total), partial(_work, url, total)))}


def _publish(url: str, total: int, ready: Ready) -> float:
    async def publish() -> float:
        async with Bus(url) as bus:
            ready()
            started = time.monotonic()
            await publish_orders(bus, total)
        return started

    return asyncio.run(publish())


def _work(url: str, total: int, ready: Ready) -> float:
    async def work() -> float:
        bus, tally = Bus(url), Tally(total)
        count_orders(bus, tally)
        async with bus.running() as crew:
            ready()
            await settled(crew, tally)
            return time.monotonic()

    return asyncio.run(work())


def huey(stage: Stage) -> Figures:
    """SqliteHuey of huey as it comes, without results; the consumer's loop of dequeue and execute."""
    total = stage.count(3_000)
    path = stage.folder / "huey.db"
    alone(partial(_make_huey, path))
    return {"huey": _rate(total, *together(partial(_enqueue, path, total), partial(_execute, path, total)))}


def _make_huey(path: Path) -> None:
    from huey import SqliteHuey

    SqliteHuey("bench", filename=str(path))


def _enqueue(path: Path, total: int, ready: Ready) -> float:
    from huey import SqliteHuey

    queue = SqliteHuey("bench", filename=str(path), results=False, timeout=_PATIENCE)

    @queue.task(name="note")  # type: ignore[untyped-decorator]
    def note(order: bytes) -> None: ...

    ready()
    started = time.monotonic()
    for _ in range(total // len(ORDERS)):
        for order in ORDERS:
            note(msgspec.json.encode(order))
    return started


def _execute(path: Path, total: int, ready: Ready) -> float:
    from huey import SqliteHuey

    tally = Tally(total)
    queue = SqliteHuey("bench", filename=str(path), results=False, timeout=_PATIENCE)

    @queue.task(name="note")  # type: ignore[untyped-decorator]
    def note(order: bytes) -> None:
        tally.note(msgspec.json.decode(order, type=Order))

    ready()
    while not tally.full:
        task = queue.dequeue()
        if task is None:
            time.sleep(_POLL)
        else:
            queue.execute(task)
    return time.monotonic()


def persist_queue(stage: Stage) -> Figures:
    """persist-queue's FIFOSQLiteAckQueue as it comes, with bodies in JSON."""
    total = stage.count(3_000)
    folder = stage.folder / "persist-queue"
    alone(partial(_make_persist_queue, folder))
    return {"persist-queue": _rate(total, *together(partial(_put, folder, total), partial(_get, folder, total)))}


def _make_persist_queue(folder: Path) -> None:
    from persistqueue import FIFOSQLiteAckQueue

    FIFOSQLiteAckQueue(str(folder)).close()


def _put(folder: Path, total: int, ready: Ready) -> float:
    from persistqueue import FIFOSQLiteAckQueue
    from persistqueue.serializers import json as serializer

    queue = FIFOSQLiteAckQueue(str(folder), serializer=serializer, timeout=_PATIENCE)
    ready()
    started = time.monotonic()
    for _ in range(total // len(DICTS)):
        for order in DICTS:
            queue.put(order)
    queue.close()
    return started


def _get(folder: Path, total: int, ready: Ready) -> float:
    from persistqueue import Empty, FIFOSQLiteAckQueue
    from persistqueue.serializers import json as serializer

    tally = Tally(total)
    queue = FIFOSQLiteAckQueue(str(folder), serializer=serializer, timeout=_PATIENCE)
    ready()
    while not tally.full:
        try:
            item = queue.get(block=False, raw=True)
        except Empty:
            time.sleep(_POLL)
            continue
        tally.note(msgspec.convert(item["data"], Order))
        queue.ack(id=item["pqid"])
    ended = time.monotonic()
    queue.close()
    return ended


WORKLOAD = Workload(
    name="sqlite-live",
    title="Messages through a file between two processes, from publish to settled",
    parts=(raw_loop, pabal, huey, persist_queue),
    units=dict.fromkeys(("raw loop", "pabal", "huey", "persist-queue"), "messages/s"),
    targets=(
        Target(
            "pabal, safe from a loss of power, over the raw loop that is not",
            lambda figures: figures["pabal"] / figures["raw loop"],
            at_least=0.6,
        ),
        Target(
            "pabal over the better of huey and persist-queue",
            lambda figures: figures["pabal"] / max(figures["huey"], figures["persist-queue"]),
            at_least=8,
        ),
    ),
)
