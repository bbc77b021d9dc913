"""Opening a box's file, and what SQLite's errors mean for its users."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

from pabal.messagebox.migrations import migrations
from pabal.messagebox.sqlite.log import WriteAheadLog
from pabal.messagebox.sqlite.turn import WriteTurn
from pabal.model.errors import ConfigurationError, ConnectionFailed

OLDEST = (3, 40)
"""The oldest SQLite library that the statements are tried on."""

PATIENCE = 5.0
"""Seconds to wait for another writer of the file."""

_WAL_LIMIT = 67_108_864

_COLUMNS = (
    "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c"
    " WHERE t.type = 'table' AND t.name GLOB 'pabal_*'"
)

_MEANING = {
    sqlite3.SQLITE_BUSY: "another process has held it for too long; end that process or its transaction",
    sqlite3.SQLITE_LOCKED: "another connection of this process holds it",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; see the system's log",
    sqlite3.SQLITE_READONLY: "it cannot be written; let this user write the file and its folder",
    sqlite3.SQLITE_PERM: "it cannot be written; let this user write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; let this user read and write the file and its folder",
    sqlite3.SQLITE_CORRUPT: "it is damaged; keep a copy, then rescue it by `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; name another file",
}


def explain(error: sqlite3.Error, path: str) -> ConnectionFailed:
    """What `error` means for the box at `path`, and the way out."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    meaning = _MEANING.get(code)
    return ConnectionFailed(f"message box {path}: {meaning} ({error})" if meaning else f"message box {path}: {error}")


def connect(path: str, *, patience: float = PATIENCE) -> sqlite3.Connection:
    """A connection whose transactions are begun by hand."""
    return sqlite3.connect(path, timeout=patience, isolation_level=None)


def open_box(path: str) -> tuple[sqlite3.Connection, WriteTurn, WriteAheadLog]:
    """Open the file for writing and bring its schema up to date; a missing file is made.

    A file that is no box, or a newer one, is left as it was. Raises ConfigurationError or ConnectionFailed.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise ConfigurationError(
            f"this Python has SQLite {sqlite3.sqlite_version}; pabal needs {OLDEST[0]}.{OLDEST[1]} or newer"
        )
    folder = Path(path).parent
    if not folder.is_dir():
        raise ConfigurationError(f"the folder {folder} does not exist; make it, or name another file")
    connection: sqlite3.Connection | None = None
    turn: WriteTurn | None = None
    try:
        connection = connect(path)
        _version(connection, path)
        turn = WriteTurn(path)
        _prepare(connection, path, turn)
        log = WriteAheadLog(path)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if turn is not None:
            turn.close()
        if isinstance(error, sqlite3.DatabaseError) and _is_no_database(error):
            raise ConfigurationError(f"{path} is no SQLite database; name another file ({error})") from error
        if isinstance(error, sqlite3.Error):
            raise explain(error, path) from error
        if isinstance(error, OSError):
            raise ConnectionFailed(
                f"message box {path}: cannot lock {error.filename or path}: {error.strerror}"
            ) from error
        raise
    return connection, turn, log


def _is_no_database(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB


def _prepare(connection: sqlite3.Connection, path: str, turn: WriteTurn) -> None:
    if not turn.acquire(PATIENCE):
        raise ConnectionFailed(f"message box {path}: another process has held its turn to write for {PATIENCE:g} s")
    try:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise ConfigurationError(
                    f"{path} cannot have a write-ahead log (its journal mode stays {mode}); name a file on a local disk"
                )
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
        connection.execute("PRAGMA temp_store = MEMORY")
        # Some systems overwrite what is deleted; as a rule SQLite does not, and a deletion is half as fast with it.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            _migrate(connection, path)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("PRAGMA synchronous = NORMAL")  # from here on the log is flushed by hand
    finally:
        turn.release()


def _version(connection: sqlite3.Connection, path: str) -> int:
    """The version of the box's schema, 0 where there is none yet; raises ConfigurationError for a newer one."""
    known = len(migrations("sqlite"))
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'pabal_meta'").fetchone():
        return 0
    version = int(connection.execute("SELECT value FROM pabal_meta WHERE name = 'schema'").fetchone()[0])
    if version > known:
        raise ConfigurationError(
            f"message box {path} has schema {version}, written by a newer pabal; this one knows up to {known}: "
            "update pabal, or name another file"
        )
    return version


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    scripts = migrations("sqlite")
    for script in scripts[_version(connection, path) :]:
        _apply(connection, script)
    connection.execute("UPDATE pabal_meta SET value = ? WHERE name = 'schema'", (len(scripts),))
    if missing := _columns_needed() - set(connection.execute(_COLUMNS)):
        raise ConfigurationError(
            f"message box {path} has no {'.'.join(min(missing))}: an unreleased pabal made it, or somebody changed it; "
            "empty it with that pabal and move it away, or name another file"
        )


@cache
def _columns_needed() -> frozenset[tuple[str, str]]:
    """Each column of the schema, after the name of its table."""
    with closing(connect(":memory:")) as empty:
        for script in migrations("sqlite"):
            _apply(empty, script)
        return frozenset(empty.execute(_COLUMNS))


def _apply(connection: sqlite3.Connection, script: str) -> None:
    for statement in _statements(script):
        connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    # Not executescript: that commits first, and the schema must come as a whole or not at all.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
