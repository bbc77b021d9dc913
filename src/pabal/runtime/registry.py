"""From a URL to its transport, by entry points: ours and third parties' alike."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from pabal.model.address import Address
from pabal.model.clock import Clock
from pabal.model.errors import ConfigurationError
from pabal.model.transport import Transport, TransportFactory

GROUP = "pabal.transports"


def schemes() -> list[str]:
    """The URL schemes that are installed, sorted."""
    return sorted(entry_points(group=GROUP).names)


def make_transport(url: str, *, clock: Clock) -> Transport:
    """The transport of `url`, not yet connected.

    Raises ConfigurationError for a URL that is none, an unknown scheme (it lists the known ones) and a missing
    extra (it gives the install command).
    """
    address = Address(url)
    found = entry_points(group=GROUP, name=address.scheme)
    if not found:
        known = ", ".join(f"{scheme}://" for scheme in schemes())
        raise ConfigurationError(f"{address}: unknown scheme {address.scheme!r}; this pabal knows {known}")
    return _load(next(iter(found)))(address, clock=clock)


def _load(point: EntryPoint) -> TransportFactory:
    try:
        factory: TransportFactory = point.load()
    except ModuleNotFoundError as error:
        project = point.dist.name if point.dist is not None else "pabal"
        extras = f"[{','.join(point.extras)}]" if point.extras else ""
        raise ConfigurationError(
            f"{point.name}:// needs the module {error.name!r}, which is not installed: pip install '{project}{extras}'"
        ) from error
    return factory
