"""Where things are on a Redis: the names of channels, groups and members there."""

from __future__ import annotations

from pabal.model.errors import ConfigurationError
from pabal.model.names import check_channel, matcher


class Names:
    """Channels under a prefix, and what pabal itself keeps beside them: no channel has a colon in it."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.ours = f"{prefix}pabal:"
        self.members = f"{self.ours}member:"
        """What begins the Redis channels that each one member reads."""
        self.patterns = f"{self.ours}patterns"
        """The set of the patterns that are read."""

    def channel(self, channel: str) -> str:
        """The Redis channel, or the key of the stream, of a channel."""
        return self.prefix + channel

    def channel_of(self, name: bytes, source: str) -> str | None:
        """The channel of a Redis channel; None: it is none that `source` takes."""
        try:
            channel = check_channel(name.decode()[len(self.prefix) :])
        except (UnicodeDecodeError, ConfigurationError):
            return None
        return channel if matcher(source)(channel) else None

    def glob(self, pattern: str) -> str:
        """The Redis pattern that takes all of a pattern, and more: its star goes beyond a dot."""
        return self.prefix + pattern.replace(">", "*")

    def pattern(self, pattern: str) -> str:
        """The Redis channel that the readers of a pattern read beside it."""
        return f"{self.ours}pattern:{pattern}"

    def group(self, source: str, group: str) -> str:
        """The Redis channel that the members of a group read beside its source, and nobody else."""
        return f"{self.ours}group:{group}@{source}"

    def groups(self, source: str) -> str:
        """The set of the groups of a source."""
        return f"{self.ours}groups:{source}"

    def claims(self, source: str, group: str) -> str:
        """What begins the keys by which a group's members claim messages."""
        return f"{self.ours}claim:{group}@{source}:"

    def lead(self, source: str, group: str) -> str:
        """The key that names the member that handles what has no id."""
        return f"{self.ours}lead:{group}@{source}"

    def replies(self, token: str) -> str:
        """Where the answers of one connection come in."""
        return f"{self.ours}reply:{token}"
