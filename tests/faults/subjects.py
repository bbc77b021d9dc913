"""All that `make faults` puts under the harness: a message box, and every version of every durable server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.subject import LEASE, NotRun, Setting, Subject, embedded
from tests.servers.blackhole import Proxy
from tests.servers.guard import Guard
from tests.servers.legs import LEGS, Leg
from tests.servers.packages import PROGRAMS

TIMEOUT = 2.0
"""Seconds that each publish to a server has: it fails many times while that is away."""

DURABLE = {"nats": "jetstream", "redis": "redis+streams"}
"""The durable transport on each kind of server."""


@contextmanager
def served(folder: Path, *, leg: Leg, scheme: str) -> Iterator[Subject]:
    """A server of this version and a port before it; dead letters go to a box in this folder."""
    program = PROGRAMS[leg.name]
    if program.find() is None:
        raise NotRun(program.advice)
    with Guard() as guard, leg.make(guard) as server:
        server.start()
        with Proxy(server.port) as proxy:
            lease = f"?lease={LEASE:g}"
            yield Subject(
                server.url(scheme) + lease,
                server=server,
                proxy=proxy,
                proxied=server.url(scheme, port=proxy.port) + lease,
                dead_letters=f"sqlite:///{folder / 'dead.db'}",
                timeout=TIMEOUT,
                orders=scheme == "jetstream",
            )


def subject_of(leg: Leg, scheme: str) -> Setting:
    """This transport on a server of this version."""
    return partial(served, leg=leg, scheme=scheme)


SUBJECTS: Mapping[str, Setting] = {
    "sqlite": embedded,
    **{f"{scheme}@{leg.name}": subject_of(leg, scheme) for server, scheme in DURABLE.items() for leg in LEGS[server]},
}
