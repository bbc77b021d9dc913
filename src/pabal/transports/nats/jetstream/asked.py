"""Requests, over NATS itself: no stream keeps them, and only who is there is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from pabal.transports.nats.connection import Connection
from pabal.transports.nats.received import Received

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription as Interest

REQUESTS = "pabal-requests"
"""The first token of the subjects of requests; the channel's subject follows."""
MEMBERS = "pabal-members"
"""The first token of the subjects on which a group's members tell that they live; stream and consumer follow."""


class Interests:
    """The subjects of NATS that a reader hears beside its stream's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard: dict[str, Interest] = {}

    async def hear(self, subject: str, queue: str, receive: Callable[[Received], None]) -> None:
        """Hear a subject, if it is not heard already."""
        if subject not in self._heard:
            self._heard[subject] = await self._connection.subscribe(subject, queue, receive)

    async def leave(self, subject: str) -> None:
        """Hear it no more."""
        if (interest := self._heard.pop(subject, None)) is not None:
            await self._connection.unsubscribe(interest)

    async def aclose(self) -> None:
        """Hear nothing more."""
        await asyncio.gather(*(self.leave(subject) for subject in tuple(self._heard)))
