"""What a run's messages are kept in: a broker in memory, or a message box in a file. Processes die, it stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextvars import Context
from pathlib import Path
from typing import Protocol

from pabal.messagebox.sqlite.box import Box
from pabal.messagebox.sqlite.connection import connect
from pabal.messagebox.sqlite.groups import statuses
from pabal.model.address import Address
from pabal.model.clock import Clock
from pabal.model.transport import GroupStatus, Transport
from pabal.testing.exploring.inline import InlineWriter
from pabal.testing.exploring.process import Process
from pabal.transports.memory.broker import Broker
from pabal.transports.memory.transport import MemoryTransport
from pabal.transports.sql import SqliteTransport

LEASE = 30.0
"""Seconds that a dead process's messages stay its own."""

FREEZE = 1.5 * LEASE


class Store(Protocol):
    """Where the messages are."""

    url: str

    def connect(self, process: Process) -> tuple[Transport, Context]:
        """A transport for a process, and the context in which it works: its own, or the server's."""
        ...

    def died(self, process: Process) -> None:
        """A process is gone."""

    def look(self) -> bool:
        """Let each notice what others did; returns whether anything came of it."""
        ...

    def groups(self) -> Sequence[GroupStatus]:
        """The groups as they are."""
        ...

    def close(self) -> None:
        """The run is over."""


class MemoryStore:
    """A broker of its own, outside of all processes. It notices that one has died after its leases are over."""

    url = f"memory://?lease={LEASE}"

    def __init__(self, clock: Clock, world: Context) -> None:
        self._clock = clock
        self._world = world
        self._broker = Broker(clock)
        self._transports: dict[Process, MemoryTransport] = {}

    def connect(self, process: Process) -> tuple[Transport, Context]:
        """A transport to the broker, which works there."""
        transport = MemoryTransport(Address(self.url), clock=self._clock, broker=self._broker)
        self._transports[process] = transport
        return transport, self._world

    def died(self, process: Process) -> None:
        """Its subscriptions stay until the broker notices."""
        transport = self._transports.pop(process, None)
        if transport is not None:
            self._world.copy().run(self._clock.call_at, self._clock.time() + 2 * LEASE, transport.close)

    def look(self) -> bool:
        """The broker tells by itself."""
        return False

    def groups(self) -> Sequence[GroupStatus]:
        """The groups as they are."""
        return [queue.status(id.name) for id, queue in self._broker.groups.items()]

    def close(self) -> None:
        """Nothing is kept."""


class BoxStore:
    """A file, in which each process has a box of its own."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / "pabal-box.db"
        self._clock = clock
        # A crash of processes loses nothing that was committed, forced to the disk or not.
        self.url = f"sqlite:///{self._path}?lease={LEASE}&synchronous=normal"
        self._writers: dict[Process, InlineWriter] = {}
        self._connection: sqlite3.Connection | None = None

    def connect(self, process: Process) -> tuple[Transport, Context]:
        """A transport to the file, which works in the process."""

        def writing(box: Box, *, failed: Callable[[], object]) -> InlineWriter:
            writer = self._writers[process] = InlineWriter(box, failed=failed, clock=self._clock)
            return writer

        transport = SqliteTransport(Address(self.url), clock=self._clock, writing=writing)
        return transport, process.context

    def died(self, process: Process) -> None:
        """Its file is closed: what it had not committed is undone. Its member row stays until others bury it."""
        writer = self._writers.pop(process, None)
        if writer is not None:
            writer.sever()

    def look(self) -> bool:
        """Each living process looks at the file."""
        looked = [process.context.copy().run(writer.look) for process, writer in self._writers.items() if process.runs]
        return any(looked)

    def groups(self) -> Sequence[GroupStatus]:
        """The groups as they are."""
        if self._connection is None:
            self._connection = connect(str(self._path))
        return statuses(self._connection, self._clock.time())

    def close(self) -> None:
        """Close all that is open."""
        for process in tuple(self._writers):
            self.died(process)
        if self._connection is not None:
            self._connection.close()


def store_for(on: str, folder: Path, clock: Clock, world: Context) -> Store:
    """The store called ``memory`` or ``sqlite``."""
    return MemoryStore(clock, world) if on == "memory" else BoxStore(folder, clock)
