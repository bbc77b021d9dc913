"""The real program, as a person and a script run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

T = TypeVar("T")

SCRIPT = [str(Path(sys.executable).parent / "pabal")]
MODULE = [sys.executable, "-m", "pabal"]

_LATE = 60.0
"""Seconds that nothing takes, however busy the machine."""


class Program:
    """Runs ``pabal`` in a folder and an `environment`; what was started is gone at `close`."""

    def __init__(self, folder: Path, command: list[str] | None = None) -> None:
        self.folder = folder
        self._command = command or SCRIPT
        self._started: list[subprocess.Popen[str]] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PABAL_")},
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_STATE_HOME": str(folder / "state"),
            "PYTHONWARNINGS": "error",
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",  # one that is aborted says where it was
        }

    def run(self, *arguments: str, stdin: bytes | None = None, code: int = 0) -> str:
        """Run a command to its end, expect its exit code, and return what it printed."""
        return self.outcome(*arguments, stdin=stdin, code=code)[0]

    def outcome(self, *arguments: str, stdin: bytes | None = None, code: int = 0) -> tuple[str, str]:
        """Run a command to its end, expect its exit code, and return standard output and standard error."""
        with (
            subprocess.Popen(
                [*self._command, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process,
            _aborted_when_late(process),
        ):
            out, err = (said.decode() for said in process.communicate(stdin))
        assert (arguments, code) == (arguments, process.returncode), f"{out}\n{err}"
        return out, err

    def lines(self, shape: type[T], *arguments: str, code: int = 0) -> list[T]:
        """Run a command with --json, and return its lines as `shape`."""
        return [parse(line, shape) for line in self.run(*arguments, "--json", code=code).splitlines()]

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None, stdin: int | None = None) -> Running:
        """Start a command that runs on."""
        process = subprocess.Popen(
            [*self._command, *arguments],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return Running(process)

    def close(self) -> None:
        """End what still runs."""
        for process in self._started:
            process.kill()
            process.wait(_LATE)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class Running:
    """A command that runs on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.out: IO[str] = process.stdout
        self.err: IO[str] = process.stderr

    def line(self, wanted: str) -> str:
        """The next line on standard output that has `wanted` in it."""
        return self._find(self.out, wanted)

    def note(self, wanted: str) -> str:
        """The next line on standard error that has `wanted` in it."""
        return self._find(self.err, wanted)

    def end(self, code: int = 0) -> tuple[str, str]:
        """Wait for the end, expect the exit code, and return the rest of standard output and standard error."""
        with _aborted_when_late(self.process), ThreadPoolExecutor(1) as pool:
            reading = pool.submit(self.err.read)
            out, err = self.out.read(), reading.result()
        self.process.wait(_LATE)
        assert code == self.process.returncode, f"{out}\n{err}"
        return out, err

    def _find(self, stream: IO[str], wanted: str) -> str:
        seen = []
        with _aborted_when_late(self.process):
            for line in stream:
                seen.append(line)
                if wanted in line:
                    return line.rstrip("\n")
        raise AssertionError(f"it ended without {wanted!r}: {''.join(seen)}")


def parse(line: str, shape: type[T]) -> T:
    """A line of JSON as `shape`."""
    return msgspec.json.decode(line, type=shape)


@contextmanager
def _aborted_when_late(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Abort a process that hangs, so that reading from it ends, and it says where each of its threads was."""
    late = threading.Timer(_LATE, process.send_signal, [signal.SIGABRT])
    late.start()
    try:
        yield
    finally:
        late.cancel()
