"""Redriving dead letters: rehearsed, paced, and stopped at the first new failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from pabal.model.clock import Clock
from pabal.model.dead import NO_LETTER, DeadLetter, LetterFilter, Redriven
from pabal.model.errors import ConfigurationError
from pabal.model.names import matcher
from pabal.model.transport import GroupId, GroupStatus
from pabal.runtime.box import Box

Progress = Callable[[Sequence[Redriven]], object]

_BATCH = 100
_STEPS = 20
"""A fast pace is kept in so many steps a second."""

_MOST_UNSURE = 100
_FIRST_LOOK, _LONGEST_LOOK = 0.005, 0.25


async def rehearse(box: Box, wanted: LetterFilter) -> list[Redriven]:
    """What a redrive of these letters would do, as far as it can be known without doing it."""
    groups = None if box.administers is None else await box.administers.groups()
    results = [_rehearsed(letter, groups) async for letter in box.parks.letters(wanted)]
    known = {result.id for result in results}
    return results + [Redriven(id, error=NO_LETTER) for id in wanted.ids or () if id not in known]


def _rehearsed(letter: DeadLetter, groups: Sequence[GroupStatus] | None) -> Redriven:
    message, channel = letter.message, letter.message.channel
    if letter.group is not None:
        id = GroupId(letter.source or channel, letter.group)
        if groups is not None and id not in [GroupId(group.source, group.name) for group in groups]:
            return Redriven(letter.id, message.id, error=f"there is no group {id.name!r} of {id.source!r}")
        return Redriven(letter.id, message.id, to=(f"{id.name} of {id.source}",))
    listeners = (f"whoever may listen to {letter.source or channel}",)
    if letter.reason != "unrouted":
        return Redriven(letter.id, message.id, to=listeners)
    takers = () if groups is None else [f"{g.name} of {g.source}" for g in groups if matcher(g.source)(channel)]
    return Redriven(letter.id, message.id, to=(*takers, *listeners))


class Redriving:
    """One run over some letters: `rate` a second at most, `progress` told of each step."""

    def __init__(self, box: Box, clock: Clock, *, rate: float | None, progress: Progress | None) -> None:
        if rate is not None and not 0 < rate < 1e6:
            raise ConfigurationError(f"rate is messages a second, more than 0, not {rate!r}")
        self._box = box
        self._clock = clock
        self._rate = rate
        self._progress = progress or (lambda _: None)
        self._next = 0.0
        self._results: dict[str, Redriven] = {}
        self._unsure: deque[DeadLetter] = deque(maxlen=_MOST_UNSURE)

    async def run(self, ids: Sequence[str]) -> list[Redriven]:
        """Send all of them."""
        size = _BATCH if self._rate is None else max(1, min(_BATCH, int(self._rate / _STEPS)))
        for start in range(0, len(ids), size):
            step = ids[start : start + size]
            await self._keep_pace(len(step))
            self._tell(await self._box.redrive(step))
        return list(self._results.values())

    async def run_until_failure(self, ids: Sequence[str], patience: float) -> list[Redriven]:
        """Send one by one until one fails anew; wait for each until it is known, or for `patience` seconds."""
        if not patience >= 0:
            raise ConfigurationError(f"patience is seconds, at least 0, not {patience!r}")
        for id in ids:
            await self._keep_pace(1)
            if await self._have_died():
                break
            letters = [letter async for letter in self._box.parks.letters(LetterFilter(ids=[id]))]
            self._tell(await self._box.redrive([id]))
            if self._results[id].error is not None or await self._has_died(letters[0], patience):
                break
        return list(self._results.values())

    async def _keep_pace(self, count: int) -> None:
        if self._rate is None:
            return
        now = self._clock.time()
        if self._next > now:
            await self._clock.sleep(self._next - now)
        self._next = max(self._next, now) + count / self._rate

    def _tell(self, results: Sequence[Redriven]) -> None:
        self._results.update((result.id, result) for result in results)
        self._progress(results)

    async def _has_died(self, sent: DeadLetter, patience: float) -> bool:
        """Wait until it is known; where it is not in time, `_have_died` looks again before each that follows."""
        deadline = self._clock.time() + patience
        pause = _FIRST_LOOK
        while True:
            # In this order: once a message is ended, its dead letter is there to be found.
            pending = await self._box.parks.pending([sent.id])
            if await self._is_dead(sent):
                return True
            if not pending or self._clock.time() >= deadline:
                if pending or not self._box.own:
                    self._unsure.append(sent)
                return False
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK)

    async def _have_died(self) -> bool:
        """Whether any that was sent before, and of which nothing was known, is known to have died now."""
        pending = set(await self._box.parks.pending([sent.id for sent in self._unsure]))
        died = [await self._is_dead(sent) for sent in self._unsure]
        if self._box.own:
            self._unsure = deque((sent for sent in self._unsure if sent.id in pending), maxlen=_MOST_UNSURE)
        return any(died)

    async def _is_dead(self, sent: DeadLetter) -> bool:
        async for found in self._box.parks.letters(LetterFilter(message_id=sent.message.id)):
            if found.redrives == sent.redrives + 1 and follows(found, sent):
                why = f": {found.attempts[-1].error}" if found.attempts else ""
                error = f"it was sent, and became dead letter {found.id} ({found.reason}{why})"
                self._tell([msgspec.structs.replace(self._results[sent.id], error=error, became=found.id)])
                return True
        return False


def follows(later: DeadLetter, earlier: DeadLetter) -> bool:
    """Whether a letter may come from the redrive of an earlier one of its message: that reached its group."""
    return earlier.group is None or (earlier.source, earlier.group) == (later.source, later.group)
