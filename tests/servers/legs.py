"""Which versions of which servers the tests run with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.servers.guard import Guard
from tests.servers.nats import Nats
from tests.servers.packages import PROGRAMS, every_version, given_url, left_out
from tests.servers.redis import Redis
from tests.servers.server import Recipe, Server


@dataclass(frozen=True)
class Leg:
    """One version of a server: its name, which is its program's too, and what of its kind it can do."""

    name: str
    recipe: Callable[..., Recipe]
    has: frozenset[str] = frozenset()

    def make(self, guard: Guard, **options: Any) -> Server:
        """A server of this leg, not started. Fails the test where the program is missing."""
        program = PROGRAMS[self.name].find()
        if program is None:
            pytest.fail(PROGRAMS[self.name].advice, pytrace=False)
        if options.get("certificates") is not None and "tls" not in self.has:
            pytest.fail(f"{self.name} is built without TLS: mark this test @pytest.mark.legs('tls')", pytrace=False)
        return Server(self.recipe(**options), name=self.name, program=program, guard=guard)


@dataclass(frozen=True)
class Given:
    """A server that ran before the tests did, and may be others' too: it is only ever connected to."""

    name: str
    given: str

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def url(self, scheme: str | None = None) -> str:
        """Its URL, with another scheme if wanted."""
        own, separator, rest = self.given.partition("://")
        return f"{scheme or own}{separator}{rest}"


# The newest first.
LEGS: Mapping[str, Sequence[Leg]] = {
    "nats": (Leg("nats-2.15", Nats, frozenset({"tls"})), Leg("nats-2.9", Nats, frozenset({"tls"}))),
    "redis": (Leg("valkey-9.1", Redis), Leg("redis-7.0", Redis, frozenset({"tls"}))),
}


def chosen(server: str, features: frozenset[str] = frozenset()) -> list[Any]:
    """The parameters for a test of this kind of server that needs these features, skipped where there are none."""
    if given := given_url(server):
        return [pytest.param(Given(f"{server}-given", given), id=f"{server}-given")]
    able = [leg for leg in LEGS[server] if features <= leg.has and leg.name not in left_out()]
    if not able:
        needed = " with ".join([server, *sorted(features)])
        reason = f"WITHOUT={os.environ.get('WITHOUT')} leaves out every {needed}"
        return [pytest.param(None, id=f"{server}-left-out", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(leg, id=leg.name) for leg in (able if every_version() else able[:1])]
