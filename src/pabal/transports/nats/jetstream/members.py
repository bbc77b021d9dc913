"""Who of a group lives: its members answer when they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pabal.transports.nats.connection import Connection
from pabal.transports.nats.jetstream.asked import MEMBERS
from pabal.transports.nats.received import Received, is_nobody

_QUIET = 0.3
"""Seconds without an answer after which no more is expected."""
_DIGITS = 10
"""Fewer are those of a number of deliveries."""


class Members:
    """Asks the members of groups, which are named by their stream and consumer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = connection.branch("m", self._receive)
        self._asked: dict[str, _Asked] = {}
        self._number = 0

    async def is_read(self, stream: str, consumer: str) -> bool:
        """Whether a group has a living member: the server knows that without its answer."""
        asked = self._ask(stream, consumer)
        try:
            await self._connection.barrier()
            return not asked.nobody
        finally:
            del self._asked[asked.number]

    async def in_hand(self, groups: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[int]]:
        """For each group with living members, how many deliveries each of them holds."""
        asked = {group: self._ask(*group) for group in groups}
        try:
            await self._connection.barrier()
            while any(not each.nobody for each in asked.values()):
                before = sum(len(each.held) for each in asked.values())
                await asyncio.sleep(_QUIET)
                if sum(len(each.held) for each in asked.values()) == before:
                    break
            return {group: each.held for group, each in asked.items() if not each.nobody}
        finally:
            for each in asked.values():
                del self._asked[each.number]

    def _ask(self, stream: str, consumer: str) -> _Asked:
        asked = _Asked(str(self._number))
        self._number += 1
        self._asked[asked.number] = asked
        self._connection.write(f"PUB {MEMBERS}.{stream}.{consumer} {self._inbox}.{asked.number} 0\r\n\r\n".encode())
        return asked

    def _receive(self, received: Received) -> None:
        asked = self._asked.get(received.subject[len(self._inbox) + 1 :])
        if asked is None:
            return
        if is_nobody(received):
            asked.nobody = True
        elif received.data.isdigit() and len(received.data) < _DIGITS:
            asked.held.append(int(received.data))


class _Asked:
    def __init__(self, number: str) -> None:
        self.number = number
        self.nobody = False
        self.held: list[int] = []
