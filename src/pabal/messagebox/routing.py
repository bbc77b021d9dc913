"""Which groups take a channel, without asking the database for each message.

A `Routing` is valid for one routing epoch. Whoever adds or removes a group raises the epoch in the same
transaction, and every publish compares it inside its own, so that patterns stay out of SQL and no publish
misses a group that was there when it began.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple
from zlib import crc32

from pabal.model.names import check_channel, is_pattern, matcher
from pabal.model.transport import GroupId

PRIVATE = "~"
"""How the name of a listener's private group begins; no group that a user names does."""

_CHANNELS = 4096


class Route(NamedTuple):
    """The groups that take one channel: durable ones, and those of listeners, which count while these live."""

    groups: tuple[int, ...]
    private: tuple[int, ...]


class Routing:
    """All groups of a box as they were at one epoch.

    `owned` are the ids of those that are taken so, `parts` into how many parts they divide their keys.
    """

    def __init__(
        self, epoch: int, groups: Iterable[tuple[int, str, str]], *, owned: Collection[int] = (), parts: int = 64
    ) -> None:
        self.epoch = epoch
        self.owned = frozenset(owned)
        self.parts = parts
        self._ids: dict[GroupId, int] = {}
        self._exact: dict[str, list[int]] = {}
        self._patterns: list[tuple[str, int]] = []
        self._private: dict[int, str] = {}
        self._routes: dict[str, Route] = {}
        for grp, source, name in groups:
            if name.startswith(PRIVATE):
                self._private[grp] = source
            else:
                self._ids[GroupId(source, name)] = grp
            if is_pattern(source):
                self._patterns.append((source, grp))
            else:
                self._exact.setdefault(source, []).append(grp)

    def find(self, group: GroupId) -> int | None:
        """The id of a durable group; None: there is none."""
        return self._ids.get(group)

    def source(self, private: int) -> str:
        """What a listener's private group reads."""
        return self._private[private]

    def part(self, grp: int, key: str | None, message_id: str) -> int:
        """In which part of an owned group a message is: that of its key, or without a key in any; 0 elsewhere."""
        if grp not in self.owned:
            return 0
        return crc32((message_id if key is None else key).encode()) % self.parts

    def route(self, channel: str) -> Route:
        """Who takes `channel`; raises ConfigurationError when it is none."""
        route = self._routes.get(channel)
        if route is None:
            check_channel(channel)
            if len(self._routes) >= _CHANNELS:
                self._routes.clear()
            takers = self._exact.get(channel, [])
            takers = [*takers, *(grp for source, grp in self._patterns if matcher(source)(channel))]
            route = self._routes[channel] = Route(
                tuple(grp for grp in takers if grp not in self._private),
                tuple(grp for grp in takers if grp in self._private),
            )
        return route
