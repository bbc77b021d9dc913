"""Loopback ports that stay ours, also while no server listens there."""

from __future__ import annotations

import random
import socket
import sys

LOOPBACK = "127.0.0.1"

# Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections: a client that tries
# again and again to reach a port of those may in the end be connected to itself.
RANGE = range(20_000, 32_000)


class Port:
    """A port that nobody else on this machine takes until it is closed. Any other process may listen on it."""

    def __init__(self) -> None:
        chance = random.SystemRandom()
        while True:
            self.number = chance.choice(RANGE)
            self._held = socket.socket()
            try:
                self._held.bind((LOOPBACK, self.number))
                break
            except OSError:
                self._held.close()
        if sys.platform == "linux":
            # Bound but not listening: a server, which reuses addresses, can listen there; another search like
            # this one, which does not, finds it taken; and a client is refused.
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            self._held.close()

    def close(self) -> None:
        """Give it back; safe to call twice."""
        self._held.close()
