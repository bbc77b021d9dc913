"""A real server: a process with a folder and ports of its own, and all that can happen to one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.servers.guard import Guard
from tests.servers.ports import LOOPBACK, Port

# The shell waits for a word before it becomes the server: by then the guard knows its process group, and when this
# process dies before that, the shell reads the pipe's end and goes too.
LAUNCH = ["/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh"]


class ServerFailed(Exception):
    """A server did not start, stop or freeze; the text has the end of what it wrote."""


@dataclass(frozen=True)
class Place:
    """Where one server runs: its folder, and its ports by what they are for."""

    folder: Path
    ports: Mapping[str, int]

    @property
    def port(self) -> int:
        """The port that clients use."""
        return next(iter(self.ports.values()))


class Recipe(Protocol):
    """How a kind of server is run, with what a test chose for it."""

    @property
    def ports(self) -> Sequence[str]:
        """What its ports are for; the first is the clients'."""
        ...

    def arguments(self, place: Place) -> Sequence[str]:
        """The command line after the program's name. Writes the configuration into the folder, at each start anew."""
        ...

    def ready(self, place: Place) -> str | None:
        """Its version, once it is ready for clients. Raises OSError while it cannot be reached."""
        ...

    def url(self, authority: str, scheme: str | None) -> str:
        """A client's URL for a host and port, with the credentials."""
        ...


class Server:
    """A server of our own. Its methods block until what they say is so, at most some seconds.

    Attributes:
        name: how test ids and reports call it.
        version: what the server says it is, from its first start on.
        place: its folder and ports, the same for all its starts.
    """

    def __init__(self, recipe: Recipe, *, name: str, program: str, guard: Guard) -> None:
        self.recipe = recipe
        self.name = name
        self.version = ""
        self._program = program
        self._guard = guard
        self._ports = {each: Port() for each in recipe.ports}
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=guard.folder))
        self.place = Place(folder, {each: port.number for each, port in self._ports.items()})
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} at {LOOPBACK}:{self.port}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port that clients use."""
        return self.place.port

    @property
    def pid(self) -> int:
        """The running server's process id, which is its group's too."""
        return self._running().pid

    @property
    def log(self) -> str:
        """All it has written to its standard output and error, over all starts."""
        return (self.place.folder / "output").read_text(errors="replace")

    def url(self, scheme: str | None = None, *, port: int | None = None) -> str:
        """A URL with its credentials; by default of the scheme that its plain client takes, and its own port."""
        return self.recipe.url(f"{LOOPBACK}:{port or self.port}", scheme)

    def start(self, *, within: float = 30.0) -> None:
        """Start it, first or again, on the same folder and ports; returns once it is ready. Raises ServerFailed."""
        assert self._process is None, f"{self} runs already"
        command = [*LAUNCH, self._program, *self.recipe.arguments(self.place)]
        with (self.place.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.place.folder,
                start_new_session=True,
            )
        self._process = process
        self._guard.add(process.pid)
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(b"go\n")
        until = time.monotonic() + within
        while not self._ready():
            if process.poll() is not None:
                self.kill()
                raise self._failed(f"ended with {process.returncode} as it started")
            if time.monotonic() > until:
                self.kill()
                raise self._failed(f"was not ready within {within:g} s")
            time.sleep(0.003)

    def stop(self, *, within: float = 20.0) -> None:
        """Ask it to end (SIGTERM) and wait for it. Raises ServerFailed when it had to be killed."""
        process = self._running()
        process.terminate()
        self.thaw()
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failed(f"did not stop within {within:g} s") from None
        self.kill()  # what it may have left in its group

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        process = self._running()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._guard.drop(process.pid)
        self._process = None

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): its connections stay open and nobody answers."""
        process = self._running()
        os.killpg(process.pid, signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise self._failed("ended instead of being frozen")

    def thaw(self) -> None:
        """Let it go on."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._running().pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, if it runs, and remove its folder; safe to call twice."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.place.folder, ignore_errors=True)
        for port in self._ports.values():
            port.close()

    def _ready(self) -> bool:
        try:
            self.version = self.recipe.ready(self.place) or ""
        except OSError:
            return False
        return bool(self.version)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self} does not run"
        return self._process

    def _failed(self, what: str) -> ServerFailed:
        return ServerFailed(f"{self.name} ({self._program}) {what}. The end of what it wrote:\n{self.log[-3000:]}")
