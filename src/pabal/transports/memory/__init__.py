"""``memory://``: a broker inside the process, for tests; all of it is lost when the process ends."""

from pabal.transports.memory.transport import MemoryOptions, MemoryTransport

__all__ = ["MemoryOptions", "MemoryTransport"]
