"""Handlers with a bug each, and without: what the explorer is to find, and is not to."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from uuid import uuid4

from pabal import Backoff, Bus, Context, Reject
from pabal.testing import Run

URL = "sqlite:///shop.db"


def database(run: Run) -> sqlite3.Connection:
    """A process's connection to the shop's database."""
    db = sqlite3.connect(run.folder / "shop.db")
    run.at_death(db.close)
    db.execute("CREATE TABLE IF NOT EXISTS bills (message TEXT PRIMARY KEY, number TEXT, item TEXT)")
    return db


def bills(run: Run, column: str = "number") -> list[str]:
    """What the database has in the end."""
    with closing(sqlite3.connect(run.folder / "shop.db")) as db:
        return [value for (value,) in db.execute(f"SELECT {column} FROM bills ORDER BY rowid")]  # noqa: S608


async def order(run: Run) -> None:
    """One order."""
    await run.bus.publish("orders.placed", "tea")


async def orders(run: Run) -> None:
    """Two orders, one after the other, and two more."""
    await run.bus.publish("orders.placed", "tea", key="a")
    await run.settled()
    for item, key in (("milk", "a"), ("rice", "b"), ("salt", "a")):
        await run.bus.publish("orders.placed", item, key=key)


async def orders_and_ten_minutes(run: Run) -> None:
    """The same, and time for whatever goes on in the background."""
    await orders(run)
    await asyncio.sleep(600.0)


def mailing(bus: Bus) -> Bus:
    """With somebody who reads what is announced."""

    @bus.handler("orders.billed", group="mail")
    async def mail(number: str) -> None: ...

    return bus


def publishes_before_commit(run: Run) -> Bus:
    db, bus = database(run), Bus(URL)

    @bus.handler("orders.placed", group="billing")
    async def bill(item: str, context: Context) -> None:
        number = uuid4().hex
        db.execute("INSERT INTO bills VALUES (?, ?, ?)", (context.message.id, number, item))
        await context.publish("orders.billed", number)
        db.commit()

    return mailing(bus)


def commits_before_publish(run: Run) -> Bus:
    db, bus = database(run), Bus(URL)

    @bus.handler("orders.placed", group="billing")
    async def bill(item: str, context: Context) -> None:
        row = (context.message.id, uuid4().hex, item)
        db.execute("INSERT INTO bills VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
        db.commit()
        (number,) = db.execute("SELECT number FROM bills WHERE message = ?", (context.message.id,)).fetchone()
        await context.publish("orders.billed", number)

    return mailing(bus)


def announced_is_billed(run: Run) -> None:
    """Every bill that was announced is in the database, and the other way round."""
    assert set(bills(run)) == set(run.values("orders.billed", str))


class Warehouse:
    """A service outside of the processes: what is sent is sent, and nothing is undone."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.known: set[str] = set()


def each_sent_once(run: Run) -> None:
    """What was ordered was sent, and nothing twice."""
    assert sorted(run.values("orders.placed", str)) == sorted(run.state.sent)


def acks_before_effect(run: Run) -> Bus:
    bus = Bus(URL)
    later: set[asyncio.Task[None]] = set()

    @bus.handler("orders.placed", group="shipping")
    async def ship(item: str) -> None:
        async def send() -> None:
            await asyncio.sleep(1.0)
            run.state.sent.append(item)

        later.add(asyncio.create_task(send()))

    return bus


def is_not_idempotent(run: Run) -> Bus:
    bus = Bus(URL)

    @bus.handler("orders.placed", group="shipping")
    async def ship(item: str) -> None:
        run.state.sent.append(item)

    return bus


def is_idempotent(run: Run) -> Bus:
    bus = Bus(URL)

    @bus.handler("orders.placed", group="shipping")
    async def ship(item: str, context: Context) -> None:
        if context.message.id not in run.state.known:
            run.state.known.add(context.message.id)
            run.state.sent.append(item)

    return bus


def buffers_in_memory(run: Run) -> Bus:
    bus = Bus(URL)
    waiting: list[str] = []

    @bus.handler("orders.placed", group="shipping")
    async def ship(item: str) -> None:
        waiting.append(item)
        if len(waiting) == 2:
            run.state.sent += waiting
            waiting.clear()

    return bus


def rejects(run: Run) -> Bus:
    bus = Bus(URL, retry=Backoff(attempts=2, first=1.0))

    @bus.handler("orders.placed", group="billing")
    async def bill(item: str) -> None:
        raise Reject("sold out")

    @bus.handler("orders.placed", group="stock")
    async def count(item: str) -> None:
        raise OSError("no stock")

    return bus
