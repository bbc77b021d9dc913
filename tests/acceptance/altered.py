"""``altered://name?lacks=parks,settles&has=replays``: the memory transport with other capabilities.

It does without what it lacks, and only says that it has what it has besides.
"""

from __future__ import annotations

from msgspec.structs import replace

from pabal.model.address import Address
from pabal.model.capabilities import Capabilities
from pabal.model.clock import Clock
from pabal.model.transport import Transport
from pabal.testing.saboteurs import Modest, TamperedTransport
from pabal.transports.memory import MemoryTransport


def altered(address: Address, /, *, clock: Clock) -> Transport:
    """The transport of an ``altered://`` URL."""
    made: Transport = MemoryTransport(Address(f"memory://{address.netloc}"), clock=clock)
    for flag in _flags(address, "lacks"):
        made = Modest(flag, made, clock, {})
    return Claiming(made, clock, dict.fromkeys(_flags(address, "has"), True))


class Claiming(TamperedTransport):
    """Says that it has what it is told to say."""

    async def open(self) -> Capabilities:
        return replace(await super().open(), **self.shared)


def _flags(address: Address, name: str) -> list[str]:
    return [flag for flag in address.query.get(name, "").split(",") if flag]
