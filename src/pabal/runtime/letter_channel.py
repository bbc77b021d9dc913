"""Dead letters as messages: how they are kept by a server that settles deliveries but has no place for them.

A worker publishes each to the channel `dead-letters` of the same server before it acknowledges. From there they are
taken into a box, where they can be listed, edited and sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from urllib.parse import quote

import msgspec
from msgspec.structs import asdict, replace

from pabal.model.clock import Clock, utc
from pabal.model.dead import DeadLetter
from pabal.model.errors import MessageTooLarge, PublishError
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Failure, Reason
from pabal.model.transport import Parks, Post, Settled, Source, Transport
from pabal.runtime.publisher import publish_error

CHANNEL = "dead-letters"
GROUP = "pabal"
LETTER = "paballetter"
"""The CloudEvents extension with all of a letter but its message's body, headers, key and content type, as JSON."""

_MOST = 12_000
"""Bytes that a letter may take as a percent-encoded header: beyond that, tracebacks are cut off, oldest first."""

_AT_ONCE = 100


class _Failed(msgspec.Struct, omit_defaults=True):
    """What of the message that failed has another value in the message that tells of it."""

    id: str
    channel: str
    time: datetime
    type: str = ""
    source: str = ""
    correlation_id: str | None = None
    causation_id: str | None = None
    expires: datetime | None = None
    reply_to: str | None = None


class _Told(msgspec.Struct, omit_defaults=True):
    """What a letter says beside its message."""

    message: _Failed

    reason: Reason
    parked: datetime
    source: str | None = None
    group: str | None = None
    attempts: tuple[Failure, ...] = ()
    redrives: int = 0


class LetterChannel:
    """Publishes dead letters to the channel `dead-letters`, and takes them from there into a box."""

    def __init__(self, transport: Transport, *, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._kept = False

    async def park(self, letters: Sequence[DeadLetter], /) -> None:
        """Publish these; raises PublishError when the server has not taken each of them."""
        if not self._kept:
            await self._keep()
        receipts = await self._transport.publish([Post(_message(letter), park=False) for letter in letters])
        large = [index for index, receipt in enumerate(receipts) if isinstance(receipt.error, MessageTooLarge)]
        errors = [r.error for r in receipts if r.error is not None and not isinstance(r.error, MessageTooLarge)]
        if large and not errors:
            # The letter is larger than its message: what cannot be sent is its history.
            receipts = await self._transport.publish(
                [Post(_message(replace(letters[index], attempts=())), park=False) for index in large]
            )
            errors = [receipt.error for receipt in receipts if receipt.error is not None]
        if errors:
            raise publish_error(errors, receipts)
        if any(receipt.routed is False for receipt in receipts):
            self._kept = False
            raise PublishError(f"nobody keeps the channel {CHANNEL}", receipts=receipts)

    async def collect(self, box: Parks, *, wait: float) -> int:
        """Take the letters there into `box`, until none has come for `wait` seconds; returns how many.

        Parked before it is acknowledged: a crash in between makes two of one letter, never none.
        """
        subscription = await self._transport.subscribe(Source(CHANNEL, GROUP))
        taken = 0
        try:
            while True:
                async with asyncio.timeout(wait):
                    deliveries = await subscription.receive(_AT_ONCE)
                await box.park([self._letter(delivery.message) for delivery in deliveries])
                await subscription.settle([Settled(delivery, ACKED) for delivery in deliveries])
                taken += len(deliveries)
        except TimeoutError:
            return taken
        finally:
            await subscription.aclose()

    async def _keep(self) -> None:
        """Have the server keep the channel though nobody reads it: its group is there from now on."""
        subscription = await self._transport.subscribe(Source(CHANNEL, GROUP, window=0))
        await subscription.aclose()
        self._kept = True

    def _letter(self, message: Message) -> DeadLetter:
        """The letter in a message; what is none becomes one itself."""
        try:
            told = msgspec.json.decode(message.attributes.get(LETTER, ""), type=_Told)
            original = _original(message, told.message)
        except (msgspec.DecodeError, UnicodeError):
            now = utc(self._clock.time())
            return DeadLetter(id="", message=message, reason="undecodable", source=CHANNEL, group=GROUP, parked=now)
        return DeadLetter(
            id="",
            message=original,
            reason=told.reason,
            source=told.source,
            group=told.group,
            attempts=told.attempts,
            parked=told.parked,
            redrives=told.redrives,
        )


def _message(letter: DeadLetter) -> Message:
    """A letter as a message: the body, its type, the key and the user's headers are those of what failed."""
    failed = letter.message
    return replace(
        failed,
        id=_id(letter),
        channel=CHANNEL,
        type=CHANNEL,
        reply_to=None,
        expires=None,
        attributes={**failed.attributes, LETTER: _told(letter)},
    )


def _original(message: Message, failed: _Failed) -> Message:
    attributes = {name: value for name, value in message.attributes.items() if name != LETTER}
    return replace(message, attributes=attributes, **asdict(failed))


def _told(letter: DeadLetter) -> str:
    """What goes into the header, with as much of the history as fits."""
    told = _Told(
        reason=letter.reason,
        parked=letter.parked,
        source=letter.source,
        group=letter.group,
        attempts=letter.attempts,
        redrives=letter.redrives,
        message=msgspec.convert(letter.message, _Failed, from_attributes=True),
    )
    attempts = list(letter.attempts)
    cut = 0
    while len(quote(text := msgspec.json.encode(told).decode())) > _MOST and cut < 2 * len(attempts):
        index, cut = cut % len(attempts), cut + 1
        # First the tracebacks, oldest first, then the texts.
        attempts[index] = (
            replace(attempts[index], traceback="")
            if cut <= len(attempts)
            else replace(attempts[index], error=attempts[index].error[:100], cause=attempts[index].cause[:100])
        )
        told.attempts = tuple(attempts)
    if len(quote(text)) > _MOST:
        told.attempts = tuple(attempts[-3:])
        text = msgspec.json.encode(told).decode()
    return text


def _id(letter: DeadLetter) -> str:
    """The same for one failure of one group, so that a letter sent twice may be one."""
    parts = (letter.message.id, letter.source or "", letter.group or "", str(letter.redrives), letter.reason)
    return f"dead-{blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()}"
