"""What tests can do to a server, whatever its kind, and what is left of it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import pytest

from tests.servers.alive import alive, until
from tests.servers.guard import Guard
from tests.servers.legs import LEGS, Given, Leg, chosen
from tests.servers.ports import LOOPBACK, Port
from tests.servers.server import Place, Server, ServerFailed


@pytest.fixture(params=chain.from_iterable(map(chosen, LEGS)))
def leg(request: pytest.FixtureRequest) -> Leg:
    """Each version of each server."""
    leg: Leg | Given = request.param
    if isinstance(leg, Given):
        pytest.skip(f"{leg.name} is not ours to start")
    return leg


@pytest.fixture
def server(leg: Leg, guard: Guard) -> Iterator[Server]:
    with leg.make(guard) as server:
        server.start()
        yield server


@dataclass(frozen=True)
class Script:
    """A shell script in place of a server. It is ready when it has written a file of that name, if ever."""

    text: str

    @property
    def ports(self) -> Sequence[str]:
        return ("client",)

    def arguments(self, place: Place) -> Sequence[str]:
        return "-c", self.text

    def ready(self, place: Place) -> str | None:
        return "1" if (place.folder / "ready").exists() else None

    def url(self, authority: str, scheme: str | None) -> str:
        return f"script://{authority}"


def script(text: str, guard: Guard) -> Server:
    shell = shutil.which("sh")
    assert shell is not None
    return Server(Script(text), name="script", program=shell, guard=guard)


def connect(server: Server) -> socket.socket:
    return socket.create_connection((LOOPBACK, server.port), timeout=10)


def test_nothing_is_left_of_it(leg: Leg, guard: Guard) -> None:
    """While it runs it has a process and a folder, and when it is closed neither; closing twice is fine."""
    server = leg.make(guard)
    server.start()
    pid = server.pid
    assert alive(pid)
    assert server.place.folder.is_dir()
    server.close()
    server.close()
    assert not alive(pid)
    assert not server.place.folder.exists()
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_its_version_is_that_of_its_name(server: Server) -> None:
    """A version is tested under its own name, as far as it comes from the lock file and not from the system."""
    name, _, version = server.name.rpartition("-")
    if server.name in {"nats-2.15", "valkey-9.1"}:
        assert version == ".".join(server.version.split(".")[:2]), f"call the leg {name} by its new version"


def test_two_at_once(leg: Leg, guard: Guard) -> None:
    """Two of the same kind run side by side, and one's end leaves the other alone."""
    with leg.make(guard) as one, leg.make(guard) as other:
        one.start()
        other.start()
        assert one.port != other.port
        assert one.place.folder != other.place.folder
        one.kill()
        connect(other).close()


def test_kill_and_start_again(server: Server) -> None:
    """A killed server's port refuses, stays its own, and has the next process on the same folder."""
    pid, port, folder = server.pid, server.port, server.place.folder
    with connect(server) as client, suppress(ConnectionResetError):
        server.kill()
        while client.recv(65536):  # what it still said; then the end, not silence
            pass
    assert not alive(pid)
    with pytest.raises(ConnectionRefusedError):
        connect(server)
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((LOOPBACK, port))
    server.start()
    assert (port, folder) == (server.port, server.place.folder)
    assert pid != server.pid
    connect(server).close()


def test_freeze_and_thaw(server: Server) -> None:
    """A frozen server's port is open and silent; what was asked meanwhile is answered once it is thawed."""
    server.freeze()
    with connect(server) as client:
        client.sendall(b"PING\r\n")
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        server.thaw()
        client.settimeout(10)
        assert client.recv(1)


def test_a_frozen_server_can_be_stopped_and_killed(server: Server) -> None:
    """Whatever a test left it in, it can be ended."""
    pid = server.pid
    server.freeze()
    server.stop()
    assert not alive(pid)
    server.start()
    pid = server.pid
    server.freeze()
    server.kill()
    assert not alive(pid)


def test_a_server_that_cannot_start(leg: Leg, guard: Guard) -> None:
    """The error has the server's own words, and nothing is left running."""
    with leg.make(guard, settings={"port": "none"}) as server:
        with pytest.raises(ServerFailed, match="ended with 1 as it started") as failed:
            server.start()
        assert server.log
        assert server.log in str(failed.value)
        with pytest.raises(AssertionError, match="does not run"):
            server.kill()


def test_a_server_that_never_gets_ready(guard: Guard) -> None:
    """It is ended after the time that it was given, and the error has what it wrote."""
    with script("echo $$; echo thinking; exec sleep 60", guard) as server:
        with pytest.raises(ServerFailed, match=r"was not ready within 0.3 s(?s:.*)thinking"):
            server.start(within=0.3)
        assert not alive(int(server.log.split()[0]))


def test_a_server_that_does_not_stop(guard: Guard) -> None:
    """Stopping it fails, so that a test does not take a kill for a clean end; it is ended all the same."""
    with script("trap '' TERM; touch ready; while :; do sleep 0.1; done", guard) as server:
        server.start()
        pid = server.pid
        with pytest.raises(ServerFailed, match=r"did not stop within 0.1 s"):
            server.stop(within=0.1)
        assert not alive(pid)


@pytest.mark.parametrize("end", [Server.stop, Server.kill])
def test_its_children_end_with_it(guard: Guard, end: Callable[[Server], None]) -> None:
    """What a server started in its process group does not outlive it, even when the server stops by itself."""
    with script("sleep 60 & echo $!; touch ready; wait", guard) as server:
        server.start()
        child = int(server.log)
        assert alive(child)
        end(server)
        until(lambda: not alive(child), "the child's end")


def test_ports_are_apart() -> None:
    """Ports that are held at the same time differ, and one that was given back may be had by others."""
    held = [Port() for _ in range(200)]
    assert len({port.number for port in held}) == 200
    for port in held:
        port.close()
    with socket.socket() as other:
        other.bind((LOOPBACK, held[0].number))
