"""Dead letters as their user sees them: to read, to mend, to send again, to discard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Unpack

from msgspec import UNSET
from msgspec.structs import replace

from pabal.model.clock import Clock, utc
from pabal.model.codec import Codec
from pabal.model.dead import Cause, Change, DeadLetter, LetterFilter, Redriven
from pabal.model.errors import ConfigurationError
from pabal.model.message import check_headers
from pabal.runtime.box import Box
from pabal.runtime.choosing import Choice, chosen, wanted
from pabal.runtime.letter_channel import LetterChannel
from pabal.runtime.redriving import Progress, Redriving, follows, rehearse

_BATCH = 100


class DeadLetters:
    """The dead letters of a bus; `Bus.dead_letters`.

    Letters are chosen by their ids, by ``all=True``, or by what they are: any of the names in `Choice`, together.
    Each method raises ConfigurationError for a choice that is none, and CapabilityError when nobody keeps dead letters.
    """

    def __init__(self, reach: Callable[[], Awaitable[Box]], *, codec: Codec, clock: Clock) -> None:
        self._reach = reach
        self._codec = codec
        self._clock = clock

    async def collect(self, *, wait: float = 1.0) -> int:
        """Take into the box the letters that workers without one published to the channel `dead-letters`.

        It ends when none has come for `wait` seconds, and returns how many there were: none on a transport that never
        publishes them.
        """
        if not wait > 0:
            raise ConfigurationError(f"wait is more than 0 seconds, not {wait!r}")
        box = await self._reach()
        if not box.collected:
            return 0
        return await LetterChannel(box.transport, clock=box.clock).collect(box.parks, wait=wait)

    async def list(self, *, redriven: bool = False, **choice: Unpack[Choice]) -> AsyncIterator[DeadLetter]:
        """The chosen dead letters, oldest first; all where nothing is chosen.

        With `redriven` those that were sent again instead: the last 10,000 of them are kept to be read.
        """
        asked = wanted(choice, redriven=redriven)
        async for found in (await self._reach()).parks.letters(asked):
            yield found

    async def causes(self, **choice: Unpack[Choice]) -> Sequence[Cause]:
        """The chosen dead letters counted by reason, channel, group and cause, the most frequent first."""
        asked = wanted(choice)
        found = await (await self._reach()).parks.causes(asked)
        return sorted(found, key=lambda each: (-each.count, each.oldest))

    async def show(self, id: str) -> DeadLetter:
        """One letter, dead or redriven, with its past; raises ConfigurationError when there is none of that id."""
        parks = (await self._reach()).parks
        for redriven in (False, True):
            async for found in parks.letters(LetterFilter(ids=[id], redriven=redriven)):
                sent = parks.letters(LetterFilter(message_id=found.message.id, redriven=True))
                past = [letter async for letter in sent if letter.redrives < found.redrives and follows(found, letter)]
                return replace(found, past=tuple(sorted(past, key=lambda letter: letter.redrives)))
        raise ConfigurationError(f"there is no dead letter {id!r}; list them to see the ids")

    async def edit(
        self,
        id: str,
        *,
        body: object = UNSET,
        headers: Mapping[str, str | None] | None = None,
        content_type: str | None = None,
        by: str = "",
    ) -> DeadLetter:
        """Change a dead letter's message before its redrive; returns the letter as it is now.

        What was there before stays readable in its `edits`. The message's id, time and everything else stay.

        Args:
            id: the letter's.
            body: the new body: bytes as they are, the content type staying; anything else as `Bus.publish` has it.
            headers: headers to set, and those with None to remove; the others stay.
            content_type: the body's media type, where it is to be another.
            by: who changes it, for those who read it later.

        Raises ConfigurationError when there is nothing to change, no such letter, or one that was redriven already;
        CodecError and MessageTooLarge for a body that cannot be sent.
        """
        if body is UNSET and not headers and content_type is None:
            raise ConfigurationError("give what to change: body, headers or content_type")
        check_headers({name: value for name, value in (headers or {}).items() if value is not None})
        encoded: bytes | None = None
        if isinstance(body, bytes):
            encoded = body
        elif body is not UNSET:
            encoded, meant = self._codec.encode(body)
            content_type = content_type or meant
        change = Change(
            time=utc(self._clock.time()), by=by, body=encoded, content_type=content_type, headers=headers or {}
        )
        edited = await (await self._reach()).parks.edit(id, change)
        if edited is None:
            raise ConfigurationError(f"there is no dead letter {id!r} that was not redriven; list them to see the ids")
        return edited

    async def redrive(
        self,
        ids: Sequence[str] | None = None,
        *,
        all: bool = False,
        dry_run: bool = False,
        rate: float | None = None,
        stop_on_failure: bool = False,
        patience: float = 10.0,
        progress: Progress | None = None,
        **choice: Unpack[Choice],
    ) -> Sequence[Redriven]:
        """Send the chosen dead letters again; returns what became of each that was tried.

        Only the group that failed gets it, with the same id and time, its attempts beginning again. One that
        was ``unrouted`` goes to all groups there are now; with still none it stays, and the result says so. Cancelled,
        it leaves the rest as they are; what was sent stays sent.

        Args:
            ids: these letters.
            all: all that there are now.
            dry_run: send nothing; each result says whom it would go to.
            rate: send so many messages a second at most.
            stop_on_failure: send one by one, and no more after one that cannot be sent or is a dead letter again. After
                each, wait until whoever got the message has ended it. With another box than the transport's own
                (``Bus(dead_letters=)``) nobody knows when that is: then nothing waits, and a message that dies later
                stops what is not sent by then.
            patience: seconds to wait for each message, with `stop_on_failure`. One that takes longer, or that nobody
                handles, is looked at again before each that follows.
            progress: called with the results of each step as soon as they are there; once more for one that died later.
            choice: what they are, as in `Choice`.
        """
        selected = chosen(ids, choice, all=all)
        box = await self._reach()
        redriving = Redriving(box, self._clock, rate=rate, progress=progress)
        if dry_run:
            return await rehearse(box, selected)
        if stop_on_failure:
            return await redriving.run_until_failure(await _ids(box, selected), patience)
        return await redriving.run(await _ids(box, selected))

    async def discard(
        self,
        ids: Sequence[str] | None = None,
        *,
        all: bool = False,
        progress: Callable[[int], object] | None = None,
        **choice: Unpack[Choice],
    ) -> int:
        """Delete the chosen dead letters for good; returns how many there were.

        `progress` is called with how many were tried, some at a time.
        """
        selected = chosen(ids, choice, all=all)
        box = await self._reach()
        found = await _ids(box, selected)
        discarded = 0
        for start in range(0, len(found), _BATCH):
            batch = found[start : start + _BATCH]
            discarded += await box.parks.discard(batch)
            if progress is not None:
                progress(len(batch))
        return discarded


async def _ids(box: Box, wanted: LetterFilter) -> Sequence[str]:
    return [found.id async for found in box.parks.letters(wanted)] if wanted.ids is None else wanted.ids
