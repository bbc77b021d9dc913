"""The raw loop on SQLite: what a careful person writes by hand, without groups, retries or dead letters.

WAL, ``synchronous=NORMAL`` unless said otherwise, JSON of the standard library; a hundred rows are inserted in one
transaction, leased by one UPDATE, and deleted in one transaction when they are handled.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import BATCH, DICTS, Tally

_LEASE = 30.0
_POLL = 0.001


@contextmanager
def raw_box(path: Path, *, synchronous: str = "NORMAL") -> Iterator[sqlite3.Connection]:
    """A connection to the raw loop's file; a missing file is made."""
    connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, due REAL, body TEXT NOT NULL)")
        yield connection
    finally:
        connection.close()


def make_raw_box(path: Path) -> Path:
    """Make the file, before several processes open it: SQLite lets none of them wait to give it its log."""
    with raw_box(path):
        return path


def insert_one(connection: sqlite3.Connection) -> None:
    """Publish one message."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO message (body) VALUES (?)", (json.dumps(DICTS[0]),))
    connection.execute("COMMIT")


def insert_orders(connection: sqlite3.Connection, total: int) -> None:
    """Publish so many messages, a hundred at a time."""
    for _ in range(total // BATCH):
        rows = [(json.dumps(order),) for order in DICTS]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO message (body) VALUES (?)", rows)
        connection.execute("COMMIT")


def handle_orders(connection: sqlite3.Connection, tally: Tally) -> None:
    """Lease, handle and delete until all of `tally` are done."""
    note = tally.note
    while not tally.full:
        leased = lease_some(connection)
        if not leased:
            time.sleep(_POLL)
            continue
        for _, body in leased:
            note(json.loads(body))
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM message WHERE id = ?", [(id,) for id, _ in leased])
        connection.execute("COMMIT")


def lease_some(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """Lease up to a hundred messages, the oldest first."""
    connection.execute("BEGIN IMMEDIATE")
    leased = connection.execute(
        "UPDATE message SET due = ? WHERE id IN (SELECT id FROM message WHERE due IS NULL ORDER BY id LIMIT ?)"
        " RETURNING id, body",
        (time.time() + _LEASE, BATCH),
    ).fetchall()
    connection.execute("COMMIT")
    return leased
