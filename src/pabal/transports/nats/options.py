"""What a URL of NATS may say beside its hosts."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from pabal.model.address import Address
from pabal.model.errors import ConfigurationError
from pabal.model.names import check_channel

_PORT = 4222

_CREDENTIALS = re.compile(
    r"BEGIN NATS USER JWT-+\s+[\w-]+\.[\w-]+\.[\w-]+\s+-+END NATS USER JWT-+.*"
    r"BEGIN USER NKEY SEED-+\s+SU[A-Z2-7]{56}\s",
    re.DOTALL,
)


@dataclass(frozen=True)
class ServerOptions:
    """Options of every URL of NATS.

    `prefix` stands before every channel, as tokens of the subject. `connect_timeout` is in seconds. `tls` asks for
    encryption; `ca`, `certificate` and `private_key` are files in PEM, `credentials` is a file as ``nsc`` writes it.
    `max_body` is the largest body in bytes, where it shall be smaller than what the server takes.
    """

    prefix: str = ""
    connect_timeout: float = 5.0
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    private_key: str = ""
    credentials: str = ""
    max_body: int | None = None


def check(address: Address, options: ServerOptions) -> None:
    """Raise ConfigurationError for options that cannot be."""
    if options.prefix:
        check_channel(options.prefix)
    if options.connect_timeout <= 0:
        raise ConfigurationError(f"bad URL {address}: connect_timeout is more than 0 seconds")
    if options.max_body is not None and options.max_body < 1:
        raise ConfigurationError(f"bad URL {address}: max_body is at least 1 byte")
    if address.path.strip("/"):
        raise ConfigurationError(f"bad URL {address}: NATS has no databases; write {address.scheme}://host:4222")
    if not options.tls and (options.ca or options.certificate or options.private_key):
        raise ConfigurationError(f"bad URL {address}: ca, certificate and private_key go with tls=true")
    if bool(options.certificate) != bool(options.private_key):
        raise ConfigurationError(f"bad URL {address}: certificate and private_key go together")
    for name in ("ca", "certificate", "private_key", "credentials"):
        if (path := getattr(options, name)) and not Path(path).is_file():
            raise ConfigurationError(f"bad URL {address}: there is no file {path!r} for {name}=")


def check_credentials(address: Address, options: ServerOptions) -> None:
    """Raise ConfigurationError for a file of credentials that is none: the client would fail over it without a word."""
    if not options.credentials:
        return
    try:
        text = Path(options.credentials).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigurationError(f"{address}: credentials cannot be read: {error.strerror}") from error
    if _CREDENTIALS.search(text) is None:
        raise ConfigurationError(
            f"{address}: {options.credentials!r} has no credentials as nsc writes them: a user's JWT and its seed"
        )


def servers(address: Address) -> list[str]:
    """The hosts of a URL, as the client wants them; without credentials, which it gets apart."""
    hosts = [host.strip() for host in address.netloc.split(",")]
    if not all(hosts):
        raise ConfigurationError(f"bad URL {address}: write {address.scheme}://host:4222, more hosts after commas")
    found = []
    for host in hosts:
        name, colon, port = host.rpartition(":")
        if colon and not host.endswith("]"):
            if not name or not port.isdigit() or not 0 < int(port) < 65536:
                raise ConfigurationError(f"bad URL {address}: {host!r} is no host and port")
            found.append(f"nats://{host}")
        else:
            found.append(f"nats://{host}:{_PORT}")
    return found


def tls(options: ServerOptions) -> ssl.SSLContext | None:
    """How to encrypt; None: not at all. Raises ConfigurationError for files that cannot be used."""
    if not options.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca or None)
        if options.certificate:
            context.load_cert_chain(options.certificate, options.private_key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"ca, certificate and private_key cannot be used: {error}") from error
    return context
