"""Redis and Valkey, durable unless a test wants them forgetful."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from tests.servers.certificates import Certificates
from tests.servers.ports import LOOPBACK
from tests.servers.server import Place


@dataclass(frozen=True, kw_only=True)
class Redis:
    """How to run one. A password alone is the default user's; `settings` are further lines of its configuration."""

    appendonly: bool = True
    user: str | None = None
    password: str | None = None
    certificates: Certificates | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def ports(self) -> Sequence[str]:
        return ("client",)

    def arguments(self, place: Place) -> Sequence[str]:
        lines = [
            f"bind {LOOPBACK}",
            f'dir "{place.folder}"',
            "daemonize no",
            'save ""',
            f"appendonly {'yes' if self.appendonly else 'no'}",
            "appendfsync always",
        ]
        if self.user is not None:
            lines += [f"user {self.user} on >{self.password} ~* &* +@all", "user default off"]
        elif self.password is not None:
            lines += [f"requirepass {self.password}"]
        if self.certificates is None:
            lines += [f"port {place.port}"]
        else:
            lines += [
                "port 0",
                f"tls-port {place.port}",
                f'tls-cert-file "{self.certificates.certificate}"',
                f'tls-key-file "{self.certificates.key}"',
                f'tls-ca-cert-file "{self.certificates.authority}"',
                "tls-auth-clients no",
            ]
        lines += [f"{name} {value}" for name, value in self.settings.items()]
        path = place.folder / "redis.conf"
        path.write_text("\n".join(lines) + "\n")
        return (str(path),)

    def ready(self, place: Place) -> str | None:
        login = [] if self.password is None else [["AUTH", *([self.user] if self.user else []), self.password]]
        commands = [*login, ["PING"], ["INFO", "server"], ["QUIT"]]
        with socket.create_connection((LOOPBACK, place.port), timeout=5) as plain:
            if self.certificates is None:
                stream = plain
            else:
                stream = self.certificates.trusting().wrap_socket(plain, server_hostname=LOOPBACK)
            with stream:
                stream.sendall(b"".join(map(_encoded, commands)))
                answer = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
        if "+PONG" not in answer:  # it may be loading still
            return None
        # Valkey says that it is some Redis, too.
        versions = dict(re.findall(r"(valkey|redis)_version:(\S+)", answer))
        return versions.get("valkey") or versions.get("redis")

    def url(self, authority: str, scheme: str | None) -> str:
        if self.password is not None:
            authority = f"{quote(self.user or '', safe='')}:{quote(self.password, safe='')}@{authority}"
        return f"{scheme or ('redis' if self.certificates is None else 'rediss')}://{authority}"


def _encoded(words: Sequence[str]) -> bytes:
    """A command as clients write it."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
