"""Where things are on a NATS server: the names of channels and groups there."""

from __future__ import annotations

PROBE = "pabalprobe"
"""A token of the reply subjects by which a publisher learns that nobody is there; such a message is no request."""


class Subjects:
    """Channels as subjects: the same tokens and wildcards, behind a prefix, which is `depth` tokens long."""

    def __init__(self, prefix: str) -> None:
        self.depth = prefix.count(".") + 1 if prefix else 0
        self._prefix = f"{prefix}." if prefix else ""
        self._length = len(self._prefix)

    def of(self, source: str) -> str:
        """The subject of a channel or pattern."""
        return self._prefix + source

    def channel(self, subject: str) -> str:
        """The channel of a subject under the prefix."""
        return subject[self._length :]


def queue(source: str, group: str) -> str:
    """The queue group of a group. NATS shares out among all that give one name, whatever subject they read."""
    return f"{group}@{source}"
