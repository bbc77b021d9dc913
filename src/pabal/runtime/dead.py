"""Dead letters as their user sees them: to read, to send again, to discard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import get_args

import msgspec

from pabal.model.dead import DeadLetter, LetterFilter, Redriven
from pabal.model.errors import ConfigurationError
from pabal.model.outcome import Reason, Rejected
from pabal.model.transport import Delivery, GroupId, Parks, Post, Source, Transport

_BATCH = 100


class Box(msgspec.Struct, frozen=True):
    """Where a bus's dead letters are: the store, and whether that is the transport itself."""

    parks: Parks
    own: bool


class DeadLetters:
    """The dead letters of a bus; `Bus.dead_letters`.

    `reach` connects on first use and returns the transport and its box.
    """

    def __init__(self, reach: Callable[[], Awaitable[tuple[Transport, Box]]]) -> None:
        self._reach = reach

    async def list(
        self, *, channel: str | None = None, group: str | None = None, reason: Reason | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The dead letters, oldest first; all, or those of one channel, group or reason."""
        if reason is not None and reason not in get_args(Reason):
            raise ConfigurationError(f"a reason is one of {', '.join(get_args(Reason))}, not {reason!r}")
        _, box = await self._reach()
        async for found in box.parks.letters(LetterFilter(channel=channel, group=group, reason=reason)):
            yield found

    async def show(self, id: str) -> DeadLetter:
        """One dead letter; raises ConfigurationError when there is none of that id."""
        _, box = await self._reach()
        letters = [found async for found in box.parks.letters(LetterFilter(ids=[id]))]
        if not letters:
            raise ConfigurationError(f"there is no dead letter {id!r}; list them to see the ids")
        return letters[0]

    async def redrive(self, ids: Sequence[str] | None = None, *, all: bool = False) -> Sequence[Redriven]:
        """Send dead letters again: those of `ids`, or all there are now; returns what became of each.

        Only the group that failed gets it, with the same id and time, its attempts beginning again. One that
        was ``unrouted`` goes to all groups there are now; with still none it stays, and the result says so.
        """
        transport, box = await self._reach()
        results: list[Redriven] = []
        chosen = await self._chosen(box, ids, all=all)
        for start in range(0, len(chosen), _BATCH):
            batch = chosen[start : start + _BATCH]
            results += await (box.parks.redrive(batch) if box.own else self._across(transport, box, batch))
        return results

    async def discard(self, ids: Sequence[str] | None = None, *, all: bool = False) -> int:
        """Delete dead letters: those of `ids`, or all there are now; returns how many."""
        _, box = await self._reach()
        chosen = await self._chosen(box, ids, all=all)
        return await box.parks.discard(chosen) if chosen else 0

    async def _chosen(self, box: Box, ids: Sequence[str] | None, *, all: bool) -> Sequence[str]:
        if isinstance(ids, str):
            raise ConfigurationError("ids is a list of dead letters' ids")
        if (ids is None) != all:
            raise ConfigurationError("give the ids of dead letters, or all=True")
        return (
            [found.id async for found in box.parks.letters(LetterFilter())] if ids is None else list(dict.fromkeys(ids))
        )

    async def _across(self, transport: Transport, box: Box, ids: Sequence[str]) -> Sequence[Redriven]:
        """Redrive from a box that is not the transport: published first, discarded after."""
        found = {letter.id: letter async for letter in box.parks.letters(LetterFilter(ids=ids))}
        letters = [found[id] for id in ids if id in found]
        receipts = await transport.publish([_post(letter) for letter in letters]) if letters else []
        results = {id: Redriven(id, error="there is no such dead letter") for id in ids if id not in found}
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
            await box.parks.discard(sent)
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
