"""Making messages and handing them to the transport."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Generic, Literal, TypeVar

import msgspec

from pabal.model.capabilities import Capabilities
from pabal.model.channel import Channel
from pabal.model.clock import Clock, utc
from pabal.model.codec import JSON, UNSENDABLE, Codec, json_encoder, unsendable
from pabal.model.dead import DeadLetter
from pabal.model.errors import (
    CapabilityError,
    ConfigurationError,
    MessageTooLarge,
    PabalError,
    PublishError,
    PublishTimeout,
    Unrouted,
)
from pabal.model.message import Message, check_headers, new_id
from pabal.model.names import check_channel, check_id
from pabal.model.transport import GroupId, Post, Receipt, Transport
from pabal.runtime.box import Parking
from pabal.runtime.stepping import bounded, resumed

T = TypeVar("T")

OnUnrouted = Literal["dead-letter", "drop", "raise"]

_NO_HEADERS: Mapping[str, str] = {}
_TOO_LONG = 1e10
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Outgoing(msgspec.Struct, Generic[T], frozen=True):
    """One value of `Bus.publish_many` with options of its own, as in `Bus.publish`."""

    value: T
    key: str | None = None
    headers: Mapping[str, str] | None = None
    delay: float | None = None
    expires: float | None = None
    id: str | None = None


class Publisher:
    """Makes messages of values, publishes them, and sees to it that an unrouted one is not lost in silence.

    `box` keeps unrouted messages where the transport does not (None: it does, or nobody wants them).
    """

    def __init__(
        self,
        transport: Transport,
        can: Capabilities,
        *,
        name: str,
        codec: Codec,
        clock: Clock,
        unrouted: OnUnrouted,
        box: Parking | None,
    ) -> None:
        self._transport = transport
        self._can = can
        self._name = name
        self._codec = codec
        self._encode = codec.encode
        self._clock = clock
        self._unrouted = unrouted
        self._box = box
        self._park = unrouted == "dead-letter" and box is None

    def message(
        self,
        channel: Channel[Any] | str,
        value: object,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        expires: float | None = None,
        id: str | None = None,
        cause: Message | None = None,
    ) -> Message:
        """The message that carries `value`; `cause` is the message whose handler publishes it.

        Raises ConfigurationError for a bad name, key, header, id or number, CodecError for a value that cannot be sent.
        """
        name = channel.name if isinstance(channel, Channel) else check_channel(channel)
        body, content_type = self._encode(value)
        time = datetime.fromtimestamp(self._clock.time(), UTC)
        return Message(
            id=new_id() if id is None else check_id(id),
            channel=name,
            body=body,
            key=key if key is None else check_key(key),
            headers=_NO_HEADERS if not headers else check_headers(dict(headers)),
            content_type=content_type,
            type=name,
            source=self._name,
            time=time,
            correlation_id=None if cause is None else cause.correlation_id or cause.id,
            causation_id=None if cause is None else cause.id,
            expires=None if expires is None else time + timedelta(seconds=_seconds("expires", expires)),
        )

    def derived(self, message: Message, cause: str, by: GroupId, ordinals: dict[bytes, int]) -> Message:
        """`message` with an id that a retry of its handler would give it again.

        It derives from what caused it, the group that publishes it, the channel, the key, a digest of body and
        headers, and the ordinal among equals, which `ordinals` counts for one delivery.
        """
        digest = blake2b(digest_size=16)
        headers = sorted(message.headers.items())
        for part in (
            cause,
            by.source,
            by.name,
            message.channel,
            message.key or "",
            *(t for pair in headers for t in pair),
        ):
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(4, "big"))
            digest.update(encoded)
        digest.update(b"key" if message.key is not None else b"no key")
        digest.update(message.body)
        same = digest.digest()
        ordinal = ordinals.get(same, 0)
        ordinals[same] = ordinal + 1
        digest.update(ordinal.to_bytes(4, "big"))
        return msgspec.structs.replace(message, id=_uuid8(digest.digest()))

    async def publish(self, message: Message, *, delay: float | None, timeout: float) -> Receipt:
        """Hand one message to the transport; raises PublishError or one of its kinds when it was not taken."""
        due = None if delay is None else self._due(delay)
        receipts = await self._send((Post(message, due, park=self._park),), timeout)
        receipt = receipts[0]
        if receipt.error is not None or receipt.routed is False:
            await self._look_after((message,), receipts, timeout)
        return receipt

    async def publish_many(
        self, channel: Channel[Any] | str, values: Iterable[object], *, timeout: float
    ) -> Sequence[Receipt]:
        """Hand values to the transport in order; raises PublishError when any of them was not taken."""
        posts = self._posts(channel, values)
        return await self.publish_posts(posts, timeout=timeout) if posts else []

    def _posts(self, channel: Channel[Any] | str, values: Iterable[object]) -> list[Post]:
        """The posts of values; those without options of their own have the time of the first."""
        name = channel.name if isinstance(channel, Channel) else check_channel(channel)
        encode, source, time, park = self._encode, self._name, utc(self._clock.time()), self._park
        posts: list[Post] = []
        plain: type[Any] | None = None  # the type of the value before, if that had no options
        json = None
        for value in values:
            if type(value) is not plain:
                if isinstance(value, Outgoing):
                    posts.append(self._post(channel, value))
                    continue
                plain = type(value)
                json = json_encoder(self._codec, plain)
            if json is None:
                body, content_type = encode(value)
            else:
                try:
                    body, content_type = json(value), JSON
                except UNSENDABLE as error:
                    raise unsendable(value, error) from error
            message = Message(
                id=new_id(),
                channel=name,
                body=body,
                headers=_NO_HEADERS,
                content_type=content_type,
                type=name,
                source=source,
                time=time,
            )
            posts.append(Post(message, park=park))
        return posts

    async def publish_posts(self, posts: Sequence[Post], *, timeout: float) -> Sequence[Receipt]:
        """Hand these to the transport in order; raises as `publish_many`."""
        receipts = await self._send(posts, timeout)
        for receipt in receipts:
            if receipt.error is not None or receipt.routed is False:
                await self._look_after([post.message for post in posts], receipts, timeout)
                break
        return receipts

    def _post(self, channel: Channel[Any] | str, value: Outgoing[Any]) -> Post:
        message = self.message(
            channel, value.value, key=value.key, headers=value.headers, expires=value.expires, id=value.id
        )
        return Post(message, self._due(value.delay), park=self._park)

    async def _send(self, posts: Sequence[Post], timeout: float) -> Sequence[Receipt]:
        if type(timeout) is not float or not 0 <= timeout < _TOO_LONG:
            timeout = _seconds("timeout", timeout)
        sending = self._transport.publish(posts)
        try:
            waited_for = sending.send(None)  # most transports in this process need not wait
        except StopIteration as done:
            receipts: Sequence[Receipt] = done.value
            return receipts
        try:
            async with asyncio.timeout(timeout):
                return await resumed(sending, waited_for)
        except TimeoutError:
            raise PublishTimeout(
                f"no answer within {timeout:g} s: the {len(posts)} message(s) may or may not have been taken"
            ) from None

    async def _look_after(self, messages: Sequence[Message], receipts: Sequence[Receipt], timeout: float) -> None:
        nobody = [m for m, r in zip(messages, receipts, strict=True) if r.error is None and r.routed is False]
        if nobody and self._unrouted == "dead-letter" and self._box is not None:
            now = utc(self._clock.time())
            letters = [DeadLetter(id="", message=m, reason="unrouted", parked=now) for m in nobody]
            try:
                await bounded(self._box.park(letters), timeout)
            except TimeoutError:
                raise PublishTimeout(
                    f"nobody takes {nobody[0].channel}, and its dead letter was not kept within {timeout:g} s",
                    receipts=receipts,
                ) from None
        errors = [receipt.error for receipt in receipts if receipt.error is not None]
        if errors:
            raise publish_error(errors, receipts)
        if nobody and self._unrouted == "raise":
            raise Unrouted(f"nobody takes {nobody[0].channel}", receipts=receipts)

    def _due(self, delay: float | None) -> float | None:
        if delay is None:
            return None
        if not self._can.delays_publish:
            raise CapabilityError("this transport cannot delay a message; leave out delay=, or choose one that can")
        return self._clock.time() + _seconds("delay", delay)


def check_key(key: str) -> str:
    """Return `key` if it may be a message's key: text of 1 to 200 characters without control characters."""
    if not isinstance(key, str):
        raise ConfigurationError(f"a key is a str, not {type(key).__name__}")
    if not 1 <= len(key) <= 200 or _CONTROL.search(key):
        raise ConfigurationError("a key is a str of 1 to 200 characters, none of them a control character")
    return key


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value < _TOO_LONG:
        raise ConfigurationError(f"{name} is seconds from now, at least 0, not {value!r}")
    return float(value)


def publish_error(errors: Sequence[PabalError], receipts: Sequence[Receipt]) -> PublishError:
    """What is raised when these errors stand in these receipts.

    A kind of its own where all are of that kind: of an error of unknown outcome nobody may believe that it was none.
    """
    text, unknown = str(errors[0]), sum(isinstance(error, PublishTimeout) for error in errors)
    if len(receipts) > 1:
        refused = len(errors) - unknown
        told = [f"{refused} of {len(receipts)} messages were not taken"] if refused else []
        told += [f"{unknown} of {len(receipts)} messages may or may not have been taken"] if unknown else []
        text = f"{' and '.join(told)}, the first because: {text}"
    if unknown == len(errors):
        return PublishTimeout(text, receipts=receipts)
    too_large = all(isinstance(error, MessageTooLarge) for error in errors)
    return (MessageTooLarge if too_large else PublishError)(text, receipts=receipts)


def _uuid8(digest: bytes) -> str:
    # RFC 9562, section 5.8: version 8 is free but for its version and variant bits.
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{'89ab'[digest[8] & 3]}{text[17:20]}-{text[20:]}"
