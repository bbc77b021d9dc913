from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pabal.messagebox.migrations import migrations
from pabal.messagebox.sqlite.connection import open_box
from pabal.model.errors import ConfigurationError, ConnectionFailed


def close(path: Path) -> None:
    connection, turn, log = open_box(str(path))
    connection.close()
    turn.close()
    log.close()


def test_a_new_file_becomes_a_box(tmp_path: Path) -> None:
    """A missing file is made, with the schema of this version, in WAL mode; opening again changes nothing."""
    path = tmp_path / "new.db"
    close(path)
    close(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert dict(connection.execute("SELECT * FROM pabal_meta")) == {
            "schema": len(migrations("sqlite")),
            "parts": 64,
            "routing": 1,
            "members": 1,
            "stirred": 1,
        }


def test_an_applications_database_keeps_its_tables(tmp_path: Path) -> None:
    """A box may live in the application's own file, beside its tables."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    close(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM pabal_group").fetchone() == (0,)


def test_a_newer_box_is_left_as_it_was(tmp_path: Path) -> None:
    """A box of a newer schema is refused with what to do, and not a byte of it is changed."""
    path = tmp_path / "newer.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE pabal_meta (name, value); INSERT INTO pabal_meta VALUES ('schema', 99)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"schema 99, written by a newer pabal.*update pabal"):
        open_box(str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_box_that_lacks_what_its_version_has_is_refused(tmp_path: Path) -> None:
    """A file of another schema than it says is named at once; its statements would fail for ever."""
    path = tmp_path / "box.db"
    close(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE pabal_dead RENAME COLUMN reason TO why")
        before = connection.execute("SELECT * FROM sqlite_master").fetchall()
        with pytest.raises(ConfigurationError, match=r"box.db has no pabal_dead\.reason: .* or name another file"):
            open_box(str(path))
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == before


def test_a_file_that_is_no_database_is_left_as_it_was(tmp_path: Path) -> None:
    """Another kind of file is refused and not written to, nor is anything put beside it."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"not a database, but my notes\n" * 100)
    with pytest.raises(ConfigurationError, match="is no SQLite database; name another file"):
        open_box(str(path))
    assert path.read_bytes() == b"not a database, but my notes\n" * 100
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that does not exist is not made in silence."""
    with pytest.raises(ConfigurationError, match=r"the folder .*nowhere does not exist"):
        open_box(str(tmp_path / "nowhere" / "box.db"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """Naming a folder fails with what to do."""
    with pytest.raises(ConnectionFailed, match="cannot be opened"):
        open_box(str(tmp_path))


def test_half_a_schema_is_never_seen(tmp_path: Path) -> None:
    """A schema that cannot be made whole leaves nothing behind: here a table of its name is in the way."""
    path = tmp_path / "mine.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE pabal_dead (other)")
    with pytest.raises(ConnectionFailed, match="pabal_dead already exists"):
        open_box(str(path))
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    assert tables == ["pabal_dead"]


AS_NOBODY = """
import os, sys
from pabal.messagebox.sqlite.connection import open_box
from pabal.model.errors import PabalError
from pabal.messagebox.migrations import migrations
migrations("sqlite")  # nothing of ours can be read once the rights are dropped
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    open_box(sys.argv[1])
except PabalError as error:
    print(type(error).__name__, error)
"""


def open_without_rights(path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A folder that other users reach too; those of pytest are closed again by each run of it that begins."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize("exists", [True, False], ids=["box", "no box"])
def test_a_read_only_folder_says_what_to_do(shared_path: Path, exists: bool) -> None:
    """In a folder that cannot be written neither a box is made nor one opened that could not be written."""
    folder = shared_path / "fixed"
    folder.mkdir()
    path = folder / "box.db"
    if exists:
        close(path)
        for file in folder.iterdir():
            file.chmod(0o444)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    folder.chmod(0o555)
    said = open_without_rights(path)
    folder.chmod(0o755)
    assert said.startswith("ConnectionFailed message box")
    assert "let this user" in said
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_read_only_file_says_what_to_do(shared_path: Path) -> None:
    """A box that this user may read but not write is refused."""
    folder = shared_path / "open"
    folder.mkdir()
    path = folder / "box.db"
    close(path)
    path.chmod(0o444)
    (folder / "box.db-turn").chmod(0o666)
    folder.chmod(0o777)
    said = open_without_rights(path)
    assert said.startswith("ConnectionFailed message box")
    assert "let this user" in said
