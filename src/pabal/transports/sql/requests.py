"""The way back of requests: a listener on a pattern that nobody can guess."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable

from pabal.model.errors import ConnectionFailed
from pabal.model.message import Message
from pabal.model.outcome import ACKED
from pabal.model.transport import Settled
from pabal.transports.sql.subscription import SqliteSubscription

WINDOW = 1000
"""How many answers are held ready."""


def new_address() -> str:
    """An address for answers, such that only who got it can send there."""
    return f"pabal-reply.{secrets.token_hex(16)}"


def pattern(address: str) -> str:
    """What the owner of `address` listens to."""
    return f"{address}.>"


class Replies:
    """Hands every answer to its asker until it is closed."""

    def __init__(self, subscription: SqliteSubscription, receive: Callable[[str, Message | None], None]) -> None:
        self._subscription = subscription
        self._receive = receive
        self._task = asyncio.create_task(self._read(), name="pabal: sqlite replies")

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionFailed):  # it was closed
            while True:
                answers = await self._subscription.receive(WINDOW)
                # Settled first: an asker's fault must not bring an answer back.
                await self._subscription.settle([Settled(answer, ACKED) for answer in answers])
                for answer in answers:
                    asyncio.get_running_loop().call_soon(self._receive, answer.message.channel, answer.message)

    async def aclose(self) -> None:
        """Hand over nothing more."""
        await self._subscription.aclose()
        await self._task
