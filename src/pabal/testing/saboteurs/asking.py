"""Saboteurs of requests."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from pabal.model.errors import ConnectionFailed
from pabal.model.message import Message
from pabal.model.transport import Post, Receipt
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedTransport


@saboteur("answer_arrives", "listener_answers", "many_requests_in_flight")
class DropsAnswers(TamperedTransport):
    """Drops every answer."""

    async def reply(self, answer: Message, /) -> None:
        """Nothing."""


@saboteur("answer_arrives", "listener_answers")
class EmptiesAnswers(TamperedTransport):
    """Loses the body of an answer."""

    async def reply(self, answer: Message, /) -> None:
        """No body."""
        await self.inner.reply(replace(answer, body=b""))


@saboteur("many_requests_in_flight")
class MixesUpRequesters(TamperedTransport):
    """Gives every tenth answer to the request of the one before it."""

    async def reply(self, answer: Message, /) -> None:
        """Some to another."""
        before = self.shared.get("before", answer.channel)
        self.shared["before"] = answer.channel
        mixed = self.count("answers") % 10 == 0
        await self.inner.reply(replace(answer, channel=before) if mixed else answer)


@saboteur("nobody_answers_is_known", "sleeping_group_is_not_asked")
class SaysThatSomebodyIsThere(TamperedTransport):
    """Says that a request reached somebody."""

    async def request(self, message: Message, /) -> Receipt:
        """Always routed."""
        receipt: Receipt = await self.inner.request(message)
        return replace(receipt, routed=True)


@saboteur("nobody_answers_is_known", "sleeping_group_is_not_asked")
class SendsRequestsAsMessages(TamperedTransport):
    """Sends a request like any message: kept for the sleeping, parked when nobody is there."""

    async def request(self, message: Message, /) -> Receipt:
        """Published."""
        receipt: Receipt = (await self.inner.publish([Post(message)]))[0]
        return receipt


@saboteur("late_answer_is_no_error")
class LateAnswersRaise(TamperedTransport):
    """Raises when nobody waits for an answer any more."""

    async def replies(self, receive: Callable[[str, Message | None], None], /) -> str:
        """Noted with its transport."""
        address: str = await self.inner.replies(receive)
        self.shared.setdefault("waiting", {})[address] = self
        return address

    async def aclose(self) -> None:
        """No longer waiting."""
        waiting = self.shared.setdefault("waiting", {})
        for address in [address for address, transport in waiting.items() if transport is self]:
            del waiting[address]
        await super().aclose()

    async def reply(self, answer: Message, /) -> None:
        """Only while somebody waits."""
        if not any(answer.channel.startswith(address) for address in self.shared["waiting"]):
            raise ConnectionFailed("nobody waits for this answer")
        await self.inner.reply(answer)
