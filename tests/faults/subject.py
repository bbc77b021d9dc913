"""What is put under the harness: a transport's URL, and the server behind it where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

LEASE = 2.0
"""Seconds; short, since each killed worker's messages wait for it."""


class Server(Protocol):
    """A server that a scenario may do harm to, as those of ``tests.servers`` are. Each call returns once it is so."""

    def start(self) -> None:
        """Start it, on the data it has left."""

    def kill(self) -> None:
        """SIGKILL."""

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and nobody answers."""

    def thaw(self) -> None:
        """SIGCONT."""


class Proxy(Protocol):
    """A port before the server's. Each call returns once it is so."""

    def stall(self) -> None:
        """Be a black hole."""

    def forward(self) -> None:
        """Pass everything, what was held back first."""


@dataclass(frozen=True)
class Subject:
    """What the processes of a scenario are given.

    Attributes:
        url: the transport's.
        server: the process behind it; None: it is embedded, or nobody may harm it.
        proxy: a port before the server's; None: there is none.
        proxied: the URL that names this port.
        dead_letters: the box, where the transport keeps none.
        orders: whether it keeps the order of a key.
        timeout: seconds that each publish has.
        environment: further variables for the processes.
    """

    url: str
    server: Server | None = None
    proxy: Proxy | None = None
    proxied: str = ""
    dead_letters: str | None = None
    orders: bool = True
    timeout: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)

    def behind_proxy(self) -> Subject:
        """The same, reached through the proxy."""
        return replace(self, url=self.proxied)

    @property
    def lease(self) -> float:
        """Seconds, as the URL says or by default."""
        return float(parse_qs(urlsplit(self.url).query).get("lease", ["30"])[0])


Setting = Callable[[Path], AbstractContextManager[Subject]]
"""Sets a subject up for the length of one scenario; it may use the folder. Raises NotRun where this machine cannot."""


class NotRun(Exception):
    """This machine cannot play a scenario; the text says why."""


@contextmanager
def embedded(folder: Path) -> Iterator[Subject]:
    """A message box in a file of this folder."""
    yield Subject(f"sqlite:///{folder / 'box.db'}?lease={LEASE:g}")
