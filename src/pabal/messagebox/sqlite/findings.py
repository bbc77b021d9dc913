"""What a doctor says about a box's file."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pabal.messagebox.migrations import migrations
from pabal.messagebox.sqlite.connection import connect, explain
from pabal.model.transport import Finding

_MEGABYTE = 1_048_576
_LARGE_WAL = 64 * _MEGABYTE
_HUGE_WAL = 1024 * _MEGABYTE
_LITTLE_SPACE = 1024 * _MEGABYTE
_NO_SPACE = 100 * _MEGABYTE

_PARKED = (
    "SELECT g.source, g.name, count(DISTINCT d.key) FROM pabal_dead d JOIN pabal_group g ON g.id = d.holds"
    " WHERE d.holds IS NOT NULL GROUP BY g.id ORDER BY g.source, g.name"
)


def findings(path: str, *, synchronous: str) -> list[Finding]:
    """Look at the file through a connection of its own; takes as long as reading all of it.

    Raises ConnectionFailed when it cannot be read at all.
    """
    try:
        with closing(connect(path)) as connection:
            return [
                *_database(connection),
                _durability(synchronous),
                *_disk(path),
                *_parked(connection),
                _integrity(connection),
            ]
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _database(connection: sqlite3.Connection) -> Iterator[Finding]:
    yield Finding("ok", f"SQLite library {sqlite3.sqlite_version}")
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode == "wal":
        yield Finding("ok", "journal mode wal: readers and the writer do not wait for each other")
    else:
        yield Finding("bad", f"journal mode {mode}: somebody changed it; run PRAGMA journal_mode = WAL on the file")
    version = connection.execute("SELECT value FROM pabal_meta WHERE name = 'schema'").fetchone()[0]
    yield Finding("ok", f"schema {version} of {len(migrations('sqlite'))}")


def _durability(synchronous: str) -> Finding:
    if synchronous == "full":
        return Finding("ok", "synchronous=full: what publish took survives a loss of power")
    return Finding(
        "weak",
        f"synchronous={synchronous}: a loss of power may take the last publishes with it; a crash does not",
    )


def _disk(path: str) -> Iterator[Finding]:
    yield Finding("ok", f"{path} has {_size(path):,} bytes")
    wal = _size(path + "-wal")
    if wal > _LARGE_WAL:
        yield Finding(
            "bad" if wal > _HUGE_WAL else "weak",
            f"its write-ahead log has {wal:,} bytes: some process keeps a reading transaction open, end that",
        )
    free = shutil.disk_usage(os.path.dirname(path)).free  # noqa: PTH120 - the path is absolute
    if free < _LITTLE_SPACE:
        yield Finding("bad" if free < _NO_SPACE else "weak", f"{free:,} bytes are free on its disk: make room")
    else:
        yield Finding("ok", f"{free:,} bytes are free on its disk")


def _parked(connection: sqlite3.Connection) -> Iterator[Finding]:
    for source, name, keys in connection.execute(_PARKED).fetchall():
        yield Finding(
            "weak",
            f"group {name!r} of {source!r}: {keys:,} keys wait behind their dead letters; redrive or discard these",
        )


def _integrity(connection: sqlite3.Connection) -> Finding:
    problems = [text for (text,) in connection.execute("PRAGMA quick_check(5)")]
    if problems == ["ok"]:
        return Finding("ok", "quick_check found nothing wrong")
    return Finding("bad", f"quick_check: {'; '.join(problems)}; keep a copy, then rescue it by `sqlite3 FILE .recover`")


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0
