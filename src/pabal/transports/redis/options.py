"""What a URL of Redis may say beside its hosts."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from pabal.model.address import Address
from pabal.model.errors import ConfigurationError

LARGEST = 256 * 1024 * 1024
"""The largest body that can be asked for: twice as much is what the server takes for one value."""

_PORT = 6379
_PREFIX = re.compile(r"[A-Za-z0-9_.:/-]{0,100}")
_PATH = re.compile(r"/?|/[0-9]{1,4}/?")


@dataclass(frozen=True)
class ServerOptions:
    """Options of every URL of Redis.

    `prefix` stands before every channel in the names of keys and of Redis's own channels, as it is written. `max_body`
    is the largest body in bytes. `connect_timeout` is in seconds. `tls` asks for encryption; `ca`, `certificate` and
    `private_key` are files in PEM.
    """

    prefix: str = ""
    max_body: int = 16 * 1024 * 1024
    connect_timeout: float = 5.0
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    private_key: str = ""


def check(address: Address, options: ServerOptions) -> None:
    """Raise ConfigurationError for options that cannot be."""
    if not _PREFIX.fullmatch(options.prefix):
        raise ConfigurationError(
            f"bad URL {address}: prefix is letters, digits and _ . : / -, up to 100 characters, like prefix=shop:"
        )
    if options.connect_timeout <= 0:
        raise ConfigurationError(f"bad URL {address}: connect_timeout is more than 0 seconds")
    if not 1 <= options.max_body <= LARGEST:
        raise ConfigurationError(f"bad URL {address}: max_body is 1 to {LARGEST} bytes")
    if not _PATH.fullmatch(address.path):
        raise ConfigurationError(f"bad URL {address}: a database is a number, as in {address.scheme}://host:{_PORT}/0")
    if address.username and address.password is None:
        raise ConfigurationError(
            f"bad URL {address}: write user:password@host, or :password@host for the default user's password"
        )
    if not options.tls and (options.ca or options.certificate or options.private_key):
        raise ConfigurationError(f"bad URL {address}: ca, certificate and private_key go with tls=true")
    if bool(options.certificate) != bool(options.private_key):
        raise ConfigurationError(f"bad URL {address}: certificate and private_key go together")
    for name in ("ca", "certificate", "private_key"):
        if (path := getattr(options, name)) and not Path(path).is_file():
            raise ConfigurationError(f"bad URL {address}: there is no file {path!r} for {name}=")


def hosts(address: Address) -> list[tuple[str, int]]:
    """The hosts and ports of a URL; those of one server and its replicas."""
    found = []
    for each in address.netloc.split(","):
        host, colon, port = each.strip().rpartition(":")
        if not colon or each.rstrip().endswith("]"):
            host, port = each.strip(), str(_PORT)
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            raise ConfigurationError(
                f"bad URL {address}: write {address.scheme}://host:{_PORT}, more hosts after commas"
            )
        found.append((host.removeprefix("[").removesuffix("]"), int(port)))
    return found


def database(address: Address) -> int:
    """The number of the database that a URL names; 0 unless it says so."""
    return int(address.path.strip("/") or 0)


def check_files(options: ServerOptions) -> None:
    """Raise ConfigurationError for certificates and keys that cannot be used."""
    if not options.tls:
        return
    try:
        context = ssl.create_default_context(cafile=options.ca or None)
        if options.certificate:
            context.load_cert_chain(options.certificate, options.private_key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"ca, certificate and private_key cannot be used: {error}") from error
