"""What a server is, and what weakens it."""

from __future__ import annotations

from collections.abc import Mapping

from hiredis import ReplyError

from pabal.model.errors import ConfigurationError
from pabal.model.transport import Finding
from pabal.transports.redis.commands import Commands

_FSYNC = {
    "always": Finding("ok", "it writes each message to disk before it answers (appendfsync always)"),
    "everysec": Finding("weak", "a loss of power may take the last second (appendfsync everysec)"),
    "no": Finding("weak", "a loss of power may take what the system has not written yet (appendfsync no)"),
}

_SETTINGS = ("appendfsync", "client-output-buffer-limit")
_OLDEST = (7, 0)


class Facts:
    """What a server told about itself; what it kept to itself is absent.

    Attributes:
        info: the lines of INFO.
        config: the settings that CONFIG GET told.
    """

    def __init__(self, info: Mapping[str, str], config: Mapping[str, str]) -> None:
        self.info = info
        self.config = config

    @property
    def version(self) -> str:
        """Name and version, as far as they are known."""
        for name, field in (("Valkey", "valkey_version"), ("Redis", "redis_version")):
            if field in self.info:
                return f"{name} {self.info[field]}"
        return "a Redis of unknown version"

    @property
    def number(self) -> tuple[int, ...] | None:
        """The version of Redis whose commands it has; None: it does not tell."""
        digits = self.info.get("redis_version", "").split(".")
        return tuple(map(int, digits)) if all(map(str.isdigit, digits)) else None

    @property
    def cluster(self) -> bool:
        """Whether it is a node of a cluster."""
        return self.info.get("cluster_enabled") == "1"

    @property
    def durable(self) -> bool:
        """Whether what it has taken survives its restart: it keeps a log, and throws away nothing when it is full."""
        return self.info.get("aof_enabled") == "1" and not self._evicts

    @property
    def _evicts(self) -> bool:
        return self._limited and self.info.get("maxmemory_policy", "").startswith("allkeys")

    @property
    def _limited(self) -> bool:
        return self.info.get("maxmemory", "0") != "0"

    @property
    def _replicas(self) -> int:
        return int(self.info.get("connected_slaves", "0"))

    def findings(self) -> list[Finding]:
        """What of that an operator should know."""
        found = [Finding("ok", self.version)]
        if self._replicas:
            found.append(Finding("ok", f"replicas: {self._replicas}"))
        return found

    def readers(self) -> list[Finding]:
        """What becomes of a reader of its channels that is too slow."""
        limits = self.config.get("client-output-buffer-limit", "").split()
        if "pubsub" not in limits[:-3]:
            return []
        hard, soft, seconds = map(int, limits[limits.index("pubsub") + 1 :][:3])
        if not hard and not soft:
            return [Finding("ok", "it keeps any number of messages for a slow reader of its channels")]
        parts = [f"{hard:,} bytes"] if hard else []
        parts += [f"{soft:,} bytes for {seconds} s"] if soft else []
        text = f"it disconnects a reader of its channels that is behind by more than {' or '.join(parts)}"
        return [Finding("ok", f"{text} (client-output-buffer-limit)")]

    def durability(self) -> list[Finding]:
        """What becomes of its data when it stops, and when its memory is full."""
        found = []
        log = self.info.get("aof_enabled")
        if log is None:
            found.append(Finding("weak", "it does not tell whether it keeps a log on disk (appendonly)"))
        elif log != "1":
            found.append(Finding("weak", "a restart takes what it has: switch on its log, appendonly yes"))
        elif "appendfsync" not in self.config:
            found.append(Finding("weak", "it keeps a log on disk, and does not tell how often it writes (appendfsync)"))
        else:
            found.append(_FSYNC.get(self.config["appendfsync"], _FSYNC["no"]))
        if self._evicts:
            policy = self.info["maxmemory_policy"]
            found.append(
                Finding(
                    "bad",
                    f"it throws messages away when its memory is full: set maxmemory-policy noeviction, not {policy}",
                )
            )
        elif self._limited:
            found.append(Finding("ok", "it takes no more messages when its memory is full, and keeps those it has"))
        else:
            found.append(Finding("ok", "it has no limit of memory of its own (maxmemory 0)"))
        if self._replicas:
            found.append(Finding("weak", "a failover may take what its replicas have not got yet"))
        return found


async def facts(commands: Commands) -> Facts:
    """Ask a server about itself; what it may not tell us is left out. Raises ConnectionFailed."""
    asked = [("INFO", "everything"), *(("CONFIG", "GET", setting) for setting in _SETTINGS)]
    info, *settings = ([] if isinstance(reply, ReplyError) else reply for reply in await commands.calls(asked))
    lines = (line.partition(":") for line in (info.decode(errors="replace").splitlines() if info else ()))
    texts = [word.decode(errors="replace") for setting in settings for word in setting]
    return Facts(
        {name: value.strip() for name, colon, value in lines if colon},
        dict(zip(texts[::2], texts[1::2], strict=True)),
    )


def check_server(found: Facts, server: object) -> None:
    """Raise ConfigurationError for a server that pabal does not work with."""
    if found.cluster:
        raise ConfigurationError(
            f"{server} is a Redis Cluster, whose nodes know nothing of each other's readers; "
            "use a server without cluster-enabled, with replicas as you like"
        )
    if found.number is not None and found.number < _OLDEST:
        raise ConfigurationError(f"{server} is {found.version}; pabal needs 7.0 or newer, or Valkey")
