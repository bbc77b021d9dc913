"""The keys of a channel's stream, and of what stands beside it."""

from __future__ import annotations

LISTENER = "pabal:listener:"
"""What begins the names of listeners' groups; no group of a user's has a colon."""


class StreamKeys:
    """The keys of one channel: the stream has the channel's name behind the prefix, the others its hash slot."""

    def __init__(self, prefix: str, channel: str) -> None:
        self.channel = channel
        self.stream = prefix + channel
        self._beside = f"{prefix}pabal:{{{self.stream}}}:"
        self.later = f"{self._beside}later"
        self.waiting = f"{self._beside}waiting"
        self.listeners = f"{self._beside}listeners"

    def side(self, group: str) -> str:
        """The stream of what is for this group alone: what comes again, and what was sent to it."""
        return f"{self._beside}side:{group}"

    def later_of(self, group: str) -> str:
        """When what waits for this group is due."""
        return f"{self._beside}later:{group}"

    def waiting_of(self, group: str) -> str:
        """What waits for this group."""
        return f"{self._beside}waiting:{group}"
