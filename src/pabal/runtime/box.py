"""Where a bus's dead letters are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from pabal.model.clock import Clock
from pabal.model.dead import NO_LETTER, DeadLetter, LetterFilter, Redriven
from pabal.model.outcome import Rejected
from pabal.model.transport import Administers, Delivery, GroupId, Parks, Post, Source, Transport


class Parking(Protocol):
    """Somewhere that dead letters are kept."""

    async def park(self, letters: Sequence[DeadLetter], /) -> None:
        """Keep them; raises PabalError when not all of them could be."""
        ...


class Box(msgspec.Struct, frozen=True):
    """The store of dead letters, and the transport that they came from.

    Attributes:
        parks: the store.
        transport: what sends them again.
        own: whether the two are one.
        administers: what knows the transport's groups; None: nobody does.
        collected: whether workers may have published letters to the transport, that are to be taken from there.
        clock: the clock of all.
    """

    parks: Parks
    transport: Transport
    own: bool
    administers: Administers | None
    collected: bool
    clock: Clock

    async def redrive(self, ids: Sequence[str]) -> Sequence[Redriven]:
        """Send letters again; returns one result each."""
        return await (self.parks.redrive(ids) if self.own else self._across(ids))

    async def _across(self, ids: Sequence[str]) -> Sequence[Redriven]:
        # Published first, taken out after: a crash in between makes two of it, never none.
        found = {letter.id: letter async for letter in self.parks.letters(LetterFilter(ids=ids))}
        letters = [found[id] for id in ids if id in found]
        receipts = await self.transport.publish([_post(letter) for letter in letters]) if letters else []
        results = {id: Redriven(id, error=NO_LETTER) for id in ids if id not in found}
        sent = []
        for letter, receipt in zip(letters, receipts, strict=True):
            error = None
            if receipt.error is not None:
                error = str(receipt.error)
            elif receipt.routed is False:
                error = f"still nobody takes {letter.message.channel}"
            else:
                sent.append(letter.id)
            results[letter.id] = Redriven(letter.id, letter.message.id, receipt.receivers, error)
        if sent:
            await self.parks.discard(sent, sent=True)
        return [results[id] for id in ids]


def letter(delivery: Delivery, outcome: Rejected, source: Source, now: datetime) -> DeadLetter:
    """The dead letter of a delivery that was rejected."""
    failure = () if outcome.failure is None else (outcome.failure,)
    return DeadLetter(
        id="",
        message=delivery.message,
        reason=outcome.reason,
        source=source.channel,
        group=source.group,
        attempts=(*delivery.errors, *failure),
        parked=now,
        redrives=delivery.redrive,
    )


def _post(letter: DeadLetter) -> Post:
    group = None if letter.source is None or letter.group is None else GroupId(letter.source, letter.group)
    return Post(letter.message, group=group, redrive=letter.redrives + 1, park=False)
