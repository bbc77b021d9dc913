"""NATS, with JetStream unless a test wants none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

from tests.servers.certificates import Certificates
from tests.servers.ports import LOOPBACK
from tests.servers.server import Place


@dataclass(frozen=True, kw_only=True)
class Nats:
    """How to run one. Give user and password, or a token, or neither; `settings` go into its configuration."""

    jetstream: bool = True
    user: str | None = None
    password: str | None = None
    token: str | None = None
    certificates: Certificates | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ports(self) -> Sequence[str]:
        return "client", "monitor"

    def arguments(self, place: Place) -> Sequence[str]:
        configuration: dict[str, Any] = {
            "host": LOOPBACK,
            "port": place.port,
            "http": f"{LOOPBACK}:{place.ports['monitor']}",
        }
        if self.jetstream:
            configuration["jetstream"] = {"store_dir": str(place.folder / "jetstream")}
        if self.user is not None:
            configuration["authorization"] = {"user": self.user, "password": self.password}
        elif self.token is not None:
            configuration["authorization"] = {"token": self.token}
        if self.certificates is not None:
            configuration["tls"] = {
                "cert_file": str(self.certificates.certificate),
                "key_file": str(self.certificates.key),
            }
        path = place.folder / "nats.conf"
        path.write_text(json.dumps(configuration | dict(self.settings), ensure_ascii=False))  # it may be JSON
        return "-c", str(path)

    def ready(self, place: Place) -> str | None:
        if _monitor(place, "/healthz").get("status") != "ok":
            return None
        return str(_monitor(place, "/varz")["version"])

    def url(self, authority: str, scheme: str | None) -> str:
        if self.user is not None:
            authority = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@{authority}"
        elif self.token is not None:
            authority = f"{quote(self.token, safe='')}@{authority}"
        return f"{scheme or ('nats' if self.certificates is None else 'tls')}://{authority}"


def _monitor(place: Place, path: str) -> dict[str, Any]:
    """What the server tells about itself."""
    connection = HTTPConnection(LOOPBACK, place.ports["monitor"], timeout=5)
    try:
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()
