"""Request and reply: asking over the transport's way back, and answering."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any

import msgspec

from pabal.model.clock import Clock, utc
from pabal.model.codec import TEXT, Codec, Decode, compile_decoder
from pabal.model.errors import (
    CapabilityError,
    CodecError,
    ConfigurationError,
    ConnectionFailed,
    NoResponders,
    RequestFailed,
    RequestTimeout,
)
from pabal.model.message import Message, new_id
from pabal.model.transport import Receipt, Requests, Transport
from pabal.runtime.decide import text_of
from pabal.runtime.middleware import AroundPublishing, Send
from pabal.runtime.surrounded import surround

FAILED = "pabalerror"
"""The CloudEvents extension of a failed request's answer: the name of the exception's class."""


class Answers:
    """Any number of answers to one request, taken as a future takes one."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self._most: int | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(self) -> bool:
        """Whether no more are taken."""
        return self._over.done()

    def set_result(self, answer: Message | None) -> None:
        """Take an answer; None says that nobody is there."""
        if answer is not None:
            self.got.append(answer)
        if answer is None or (self._most is not None and len(self.got) >= self._most):
            self._over.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        """No more will come."""
        self._over.set_exception(error)

    async def enough(self, *most: int | None) -> None:
        """Wait until as many have come as the least of `most`; None: until cancelled."""
        self._most = min((count for count in most if count is not None), default=None)
        if not self.done() and self._most is not None and len(self.got) >= self._most:
            self._over.set_result(None)
        await self._over


class WayBack:
    """Where answers come in: opened with the first request, it hands each answer to the one that waits for it."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._address: asyncio.Task[str] | None = None
        self._waiting: dict[str, asyncio.Future[Message | None] | Answers] = {}

    async def expect(self) -> tuple[str, asyncio.Future[Message | None]]:
        """Where an answer goes, and the future that gets it, or None when nobody is there to answer."""
        reply_to = f"{await self._open()}.{new_id()}"
        answer: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._waiting[reply_to] = answer
        return reply_to, answer

    async def expect_many(self) -> tuple[str, Answers]:
        """Where answers go, and what takes them."""
        reply_to = f"{await self._open()}.{new_id()}"
        answers = self._waiting[reply_to] = Answers()
        return reply_to, answers

    def forget(self, reply_to: str) -> None:
        """Nobody waits for this answer any more."""
        del self._waiting[reply_to]

    async def aclose(self) -> None:
        """Every request that still waits fails with ConnectionFailed."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionFailed("the bus was closed before the answer came"))
        if self._address is not None:
            self._address.cancel()
            await asyncio.gather(self._address, return_exceptions=True)

    async def _open(self) -> str:
        """The address, opened once; a request that gives up meanwhile leaves the opening to the others."""
        if self._address is None or (self._address.done() and not _succeeded(self._address)):
            opening = self._requests.replies(self._receive)
            self._address = asyncio.get_running_loop().create_task(opening, name="pabal replies")
        return await asyncio.shield(self._address)

    def _receive(self, reply_to: str, answer: Message | None) -> None:
        waiting = self._waiting.get(reply_to)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


class Requester:
    """Asks, and waits for the answer. `requests` None: the transport has none."""

    def __init__(self, requests: Requests | None, *, codec: Codec) -> None:
        self._way_back = None if requests is None else WayBack(requests)
        self._send: Send = partial(_send, requests)
        self._codec = codec
        self._decoders: dict[object, Decode] = {}

    def surrounded(self, around: Sequence[AroundPublishing]) -> Requester:
        """A requester of the same way back, whose requests pass through middleware."""
        other = copy(self)
        other._send = surround(around, self._send)  # noqa: SLF001 - of this class
        return other

    async def request(self, message: Message, *, reply: Any, timeout: float) -> Any:
        """Send `message` and return the first answer as type `reply`.

        Raises NoResponders, RequestTimeout, RequestFailed, and CodecError for an answer of another type.
        """
        way_back, decode = self._ways(), self._decoder(reply)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._ask(way_back, message)
        except TimeoutError:
            raise RequestTimeout(f"no answer to {message.channel} within {timeout:g} s") from None
        return _read(answer, decode)

    async def gather(self, message: Message, *, reply: Any, wait: float, at_most: int | None) -> list[Any]:
        """Send `message` and return all answers that come within `wait` seconds, failures among them as values.

        Raises RequestTimeout when it could not be sent in that time.
        """
        way_back, decode = self._ways(), self._decoder(reply)
        until = asyncio.get_running_loop().time() + wait
        try:
            async with asyncio.timeout_at(until):
                reply_to, answers = await way_back.expect_many()
        except TimeoutError:
            raise RequestTimeout(f"{message.channel} was not asked within {wait:g} s") from None
        sent = False
        try:
            async with asyncio.timeout_at(until):
                receipt = await self._send(msgspec.structs.replace(message, reply_to=reply_to))
                sent = True
                await answers.enough(at_most, receipt.receivers)
        except NoResponders:
            return []
        except TimeoutError:
            if not sent:
                raise RequestTimeout(f"{message.channel} was not asked within {wait:g} s") from None
        finally:
            way_back.forget(reply_to)
        return [_outcome(answer, decode) for answer in answers.got]

    async def aclose(self) -> None:
        """Every request that still waits fails with ConnectionFailed."""
        if self._way_back is not None:
            await self._way_back.aclose()

    def _ways(self) -> WayBack:
        if self._way_back is None:
            raise CapabilityError("this transport has no requests; choose one that has, or publish an answer yourself")
        return self._way_back

    def _decoder(self, reply: Any) -> Decode:
        try:
            if reply not in self._decoders:
                self._decoders[reply] = compile_decoder(self._codec, reply)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"answers cannot be decoded to {reply!r}: {error}") from error
        return self._decoders[reply]

    async def _ask(self, way_back: WayBack, message: Message) -> Message:
        reply_to, waiting = await way_back.expect()
        try:
            await self._send(msgspec.structs.replace(message, reply_to=reply_to))
            answer = await waiting
        finally:
            way_back.forget(reply_to)
        if answer is None:
            raise NoResponders(f"nobody is there to answer {message.channel}")
        return answer


def _read(answer: Message, decode: Decode) -> Any:
    """The value of an answer; raises RequestFailed or CodecError."""
    failed = answer.attributes.get(FAILED)
    if failed is not None:
        raise RequestFailed(failed, answer.body.decode(errors="replace"))
    return decode(answer.body, answer.content_type)


def _outcome(answer: Message, decode: Decode) -> Any:
    """The value of an answer, or why there is none."""
    try:
        return _read(answer, decode)
    except (RequestFailed, CodecError) as error:
        return error


async def _send(requests: Requests | None, request: Message) -> Receipt:
    assert requests is not None  # noqa: S101 - or there is no way back either
    receipt = await requests.request(request)
    if receipt.error is not None:
        raise receipt.error
    if receipt.routed is False:
        raise NoResponders(f"nobody is there to answer {request.channel}")
    return receipt


class Responder:
    """Answers requests by what their handlers return or raise."""

    def __init__(self, requests: Requests, *, name: str, codec: Codec, clock: Clock) -> None:
        self._requests = requests
        self._name = name
        self._codec = codec
        self._clock = clock

    async def answer(self, request: Message, value: object) -> None:
        """Answer with `value`; raises CodecError when it cannot be sent."""
        body, content_type = self._codec.encode(value)
        await self._requests.reply(self._message(request, body, content_type, {}))

    async def fail(self, request: Message, error: BaseException) -> None:
        """Answer that the handler failed."""
        await self._requests.reply(
            self._message(request, text_of(error).encode(errors="replace"), TEXT, {FAILED: type(error).__name__})
        )

    def _message(self, request: Message, body: bytes, content_type: str, attributes: dict[str, str]) -> Message:
        assert request.reply_to is not None  # noqa: S101 - only requests are answered
        return Message(
            id=new_id(),
            channel=request.reply_to,
            body=body,
            content_type=content_type,
            type=request.channel,
            source=self._name,
            time=utc(self._clock.time()),
            correlation_id=request.correlation_id or request.id,
            causation_id=request.id,
            attributes=attributes,
        )


def _succeeded(task: asyncio.Task[str]) -> bool:
    return not task.cancelled() and task.exception() is None


def requests_of(transport: Transport, *, offered: bool) -> Requests | None:
    """The transport's request and reply, where its capabilities declare them."""
    return transport if offered else None  # type: ignore[return-value]  # declared by the capability of that name
