"""The fixtures by which tests get real servers.

A test that uses `nats_server`, `start_nats` or `nats_leg` runs once for each version that PABAL_TEST_LEGS asks for,
with its name in the test's id; ``@pytest.mark.legs("tls")`` leaves out the versions that lack something. So it is with
`redis_server`, `start_redis` and `redis_leg`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from tests.servers.blackhole import Proxy
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.guard import Guard
from tests.servers.legs import LEGS, Given, Leg, chosen
from tests.servers.server import Server

Start = Callable[..., Server]  # its arguments are the recipe's options

_VERSIONS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_VERSIONS] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for server in LEGS:
        fixture = f"{server}_leg"
        if fixture in metafunc.fixturenames:
            features = {each for marker in metafunc.definition.iter_markers("legs") for each in marker.args}
            legs = chosen(server, frozenset(features))
            metafunc.parametrize(fixture, legs, indirect=True, scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if versions := config.stash[_VERSIONS]:
        started = ", ".join(f"{name} is {version}" for name, version in sorted(versions.items()))
        terminalreporter.write_line(f"real servers: {started}")


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    """Ends all servers with the run, however it ends."""
    with Guard() as guard:
        yield guard


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For servers that speak TLS on loopback."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def own_token() -> str:
    """A token that no other test uses: begin channels with it on a server that tests share."""
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def open_proxy() -> Iterator[Callable[[int], Proxy]]:
    """Open a port in front of a server's, on which the network can fail."""
    with ExitStack() as opened:
        yield lambda port: opened.enter_context(Proxy(port))


@pytest.fixture(scope="session")
def nats_leg(request: pytest.FixtureRequest) -> Leg | Given:
    """The NATS that this test runs with."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def nats_server(nats_leg: Leg | Given, request: pytest.FixtureRequest) -> Iterator[Server | Given]:
    """A NATS with JetStream that all tests share: none stops it, and each keeps to names of its own."""
    yield from _shared(nats_leg, request)


@pytest.fixture
def start_nats(nats_leg: Leg | Given, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a NATS for this test alone, which may do anything to it; the options are those of `Nats`."""
    yield from _private(nats_leg, request)


@pytest.fixture(scope="session")
def redis_leg(request: pytest.FixtureRequest) -> Leg | Given:
    """The Redis or Valkey that this test runs with."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def redis_server(redis_leg: Leg | Given, request: pytest.FixtureRequest) -> Iterator[Server | Given]:
    """A durable Redis that all tests share: none stops it, and each keeps to names of its own."""
    yield from _shared(redis_leg, request)


@pytest.fixture
def start_redis(redis_leg: Leg | Given, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a Redis for this test alone, which may do anything to it; the options are those of `Redis`."""
    yield from _private(redis_leg, request)


def _shared(leg: Leg | Given, request: pytest.FixtureRequest) -> Iterator[Server | Given]:
    if isinstance(leg, Given):
        yield leg
        return
    with leg.make(request.getfixturevalue("guard")) as server:
        server.start()
        request.config.stash[_VERSIONS][server.name] = server.version
        yield server


def _private(leg: Leg | Given, request: pytest.FixtureRequest) -> Iterator[Start]:
    if isinstance(leg, Given):
        server, _, _ = leg.name.partition("-")
        pytest.skip(f"PABAL_TEST_{server.upper()}_URL gives a server that tests may not start, stop or set up")
    with ExitStack() as started:

        def start(**options: Any) -> Server:
            server = started.enter_context(leg.make(request.getfixturevalue("guard"), **options))
            server.start()
            request.config.stash[_VERSIONS][server.name] = server.version
            return server

        yield start
