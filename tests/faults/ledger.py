"""The ledger: what was intended, acknowledged and handled, by whom and in which order, whoever is killed meanwhile.

All processes of a scenario append to one file. An entry is one line, written by one call and flushed to the disk
before the process goes on; so the order of the lines is the order in which things happened.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

What = Literal["intended", "acknowledged", "refused", "unknown", "late", "begun", "handled"]
Fate = Literal["handle", "fail", "reject", "hold"]
"""What a handler is to do with a message: handle it, fail on it once, reject it, or hold it until it is let go."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the ledger.

    Attributes:
        what: ``intended`` before publish is called; then ``acknowledged``, ``refused`` (an error says it was not taken)
            or ``unknown`` (an error says that nobody knows), and ``late`` beside it when that took longer than it may;
            ``begun`` and ``handled`` in a handler, before it returns.
        id: the message's.
        who: which process, by its name and number, as ``worker-2.1``.
        key: the key it is published under.
        fate: what its handler is to do.
        attempt: which delivery was begun or handled.
        why: the error of what was refused.
    """

    what: What
    id: str
    who: str
    key: str | None = None
    fate: Fate = "handle"
    attempt: int = 0
    why: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class Ledger:
    """The file as those who write see it."""

    def __init__(self, path: Path, who: str) -> None:
        self._who = who
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, what: What, *ids: str, key: str | None = None, fate: Fate = "handle", attempt: int = 0) -> None:
        """Write what happened to these messages."""
        self._write([Entry(what, id, self._who, key, fate, attempt) for id in ids])

    def failed(self, what: What, *ids: str, error: BaseException) -> None:
        """Write that publishing these has failed by `error`."""
        self._write([Entry(what, id, self._who, why=f"{type(error).__name__}: {error}") for id in ids])

    def close(self) -> None:
        os.close(self._file)

    def _write(self, entries: list[Entry]) -> None:
        # Each begins a line of its own: were one ever torn, the next would not suffer by it.
        os.write(self._file, b"".join(b"\n" + _encode(entry) + b"\n" for entry in entries))
        os.fsync(self._file)


class Reading:
    """The file as it grows, entry by entry."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._rest = b""

    def close(self) -> None:
        self._file.close()

    def more(self) -> list[Entry]:
        """What came since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [entry for line in lines if line and (entry := _entry(line)) is not None]


def _entry(line: bytes) -> Entry | None:
    try:
        return _decode(line)
    except msgspec.DecodeError:
        return None  # torn: whoever wrote it was killed, and had not gone on
