"""What a URL of JetStream may say beside its hosts."""

from __future__ import annotations

from dataclasses import dataclass

from pabal.model.address import Address
from pabal.model.errors import ConfigurationError
from pabal.transports.nats.options import ServerOptions, check

LEASE = 30.0


@dataclass(frozen=True)
class JetStreamOptions(ServerOptions):
    """Options of ``jetstream://`` beside those of the server.

    `stream` names the stream for all channels; without it each first token of a channel has its own, or the one that
    covers the channel already. `storage` (``file`` or ``memory``), `replicas`, `max_age` (seconds), `max_bytes` and
    `max_messages` are those of the streams that pabal makes, and what an existing one is held to. `lease` is in
    seconds; None: as the group has it, 30 for a new one. `purge` removes from the streams that pabal makes what every
    group has handled; without it messages stay until a limit of the stream is reached.
    """

    stream: str = ""
    storage: str = "file"
    replicas: int | None = None
    max_age: float | None = None
    max_bytes: int | None = None
    max_messages: int | None = None
    lease: float | None = None
    purge: bool = True


def check_jetstream(address: Address, options: JetStreamOptions) -> None:
    """Raise ConfigurationError for options that cannot be."""
    check(address, options)
    if options.storage not in ("file", "memory"):
        raise ConfigurationError(f"bad URL {address}: storage is file or memory")
    if options.lease is not None and options.lease < 0.1:
        raise ConfigurationError(f"bad URL {address}: lease is at least 0.1 seconds")
    if options.replicas is not None and not 1 <= options.replicas <= 5:
        raise ConfigurationError(f"bad URL {address}: replicas is 1 to 5")
    if options.max_age is not None and options.max_age < 0.1:
        raise ConfigurationError(f"bad URL {address}: max_age is at least 0.1 seconds")
    for name in ("max_bytes", "max_messages"):
        most = getattr(options, name)
        if most is not None and most < 1:
            raise ConfigurationError(f"bad URL {address}: {name} is at least 1")
    if any(character in options.stream for character in " \t.*>/\\"):
        raise ConfigurationError(f"bad URL {address}: a stream's name has no spaces and none of . * > / \\")
