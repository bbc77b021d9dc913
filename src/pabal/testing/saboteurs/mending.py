"""Saboteurs of dead letters that are looked through, mended, and read after they were sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from pabal.model.dead import Cause, Change, DeadLetter, LetterFilter, Redriven, tally
from pabal.model.message import new_id
from pabal.model.transport import Post, Receipt
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedTransport


@saboteur("letters_are_found_by_cause_and_time")
class IgnoresTheCause(TamperedTransport):
    """Lists letters whatever they failed of."""

    async def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """All causes."""
        async for letter in self.inner.letters(replace(wanted, cause=None)):
            yield letter


@saboteur("letters_are_found_by_cause_and_time")
class TakesACauseForABeginning(TamperedTransport):
    """Lists letters whose cause begins with the one that is asked for."""

    async def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """By the beginning."""
        async for letter in self.inner.letters(replace(wanted, cause=None)):
            if letter.cause.startswith(wanted.cause or ""):
                yield letter


@saboteur("letters_are_found_by_cause_and_time")
class IgnoresTheTime(TamperedTransport):
    """Lists letters whenever they were parked."""

    async def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """From the first to the last."""
        async for letter in self.inner.letters(replace(wanted, since=None, until=None)):
            yield letter


@saboteur("letters_are_counted_by_cause")
class CountsOthersToo(TamperedTransport):
    """Counts letters that were not asked for."""

    async def causes(self, wanted: LetterFilter, /) -> Sequence[Cause]:
        """All of the channel."""
        return tally([letter async for letter in self.inner.letters(LetterFilter(channel=wanted.channel))])


@saboteur("letters_are_counted_by_cause")
class ForgetsTheOldest(TamperedTransport):
    """Counts letters without saying since when there are any."""

    async def causes(self, wanted: LetterFilter, /) -> Sequence[Cause]:
        """As if all had come just now."""
        return [replace(cause, oldest=cause.newest) for cause in await self.inner.causes(wanted)]


@saboteur("edited_letter_keeps_what_was")
class EditsWithoutARecord(TamperedTransport):
    """Changes a letter as if it had always been so."""

    async def edit(self, id: str, change: Change, /) -> DeadLetter | None:
        """The change alone."""
        edited: DeadLetter | None = await self.inner.edit(id, change)
        return edited and replace(edited, edits=())


@saboteur("edited_letter_keeps_what_was")
class EditsByReplacing(TamperedTransport):
    """Parks a changed message anew, and drops the letter that it was."""

    async def edit(self, id: str, change: Change, /) -> DeadLetter | None:
        """A new letter."""
        async for letter in self.inner.letters(LetterFilter(ids=[id])):
            message, edit = change.apply(letter.message)
            changed: DeadLetter = replace(letter, message=replace(message, id=new_id()), edits=(*letter.edits, edit))
            await self.inner.park([changed])
            await self.inner.discard([id])
            return changed
        return None


@saboteur("edited_letter_keeps_what_was")
class RedrivesTheOriginal(TamperedTransport):
    """Redrives a letter as it was before its edits."""

    async def edit(self, id: str, change: Change, /) -> DeadLetter | None:
        """Only said."""
        async for letter in self.inner.letters(LetterFilter(ids=[id])):
            message, edit = change.apply(letter.message)
            said: DeadLetter = replace(letter, message=message, edits=(*letter.edits, edit))
            return said
        return None


@saboteur("redriven_letter_can_be_read")
class ForgetsTheRedriven(TamperedTransport):
    """Knows nothing of a letter once it was redriven."""

    async def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """Only those that are dead still."""
        async for letter in self.inner.letters(wanted):
            if not wanted.redriven:
                yield letter


@saboteur("redriven_letter_can_be_read")
class ForgetsWhatIsPending(TamperedTransport):
    """Takes each redriven message for ended at once."""

    async def pending(self, ids: Sequence[str], /) -> Sequence[str]:  # noqa: ARG002 - not heeded
        """None."""
        return []


@saboteur("redriven_letter_can_be_read")
class NeverEnds(TamperedTransport):
    """Takes no redriven message for ended."""

    async def pending(self, ids: Sequence[str], /) -> Sequence[str]:
        """All that it was ever asked for while they were."""
        known: set[str] = self.shared.setdefault("pending", set())
        known.update(await self.inner.pending(ids))
        return [id for id in ids if id in known]


@saboteur("redriven_letter_can_be_read")
class DiscardsWhatOthersSent(TamperedTransport):
    """Deletes a letter that another transport sent."""

    async def discard(self, ids: Sequence[str], /, *, sent: bool = False) -> int:  # noqa: ARG002 - not heeded
        """For good."""
        return int(await self.inner.discard(ids))


@saboteur("overflow_of_a_listener_is_parked")
class ForgetsOverflow(TamperedTransport):
    """Drops what finds a listener too far behind."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Without its dead letters."""
        receipts: Sequence[Receipt] = await self.inner.publish(posts)
        async for letter in self.inner.letters(LetterFilter(reason="overflow")):
            await self.inner.discard([letter.id])
        return receipts


@saboteur("overflow_of_a_listener_is_parked")
class RefusesOverflowForever(TamperedTransport):
    """Never sends overflow again."""

    async def redrive(self, ids: Sequence[str], /) -> Sequence[Redriven]:
        """It stays."""
        letters = {letter.id: letter async for letter in self.inner.letters(LetterFilter(ids=ids))}
        held = [id for id in ids if id in letters and letters[id].reason == "overflow"]
        sent = await self.inner.redrive([id for id in ids if id not in held])
        return [*sent, *(Redriven(id, letters[id].message.id, 0, "too far behind") for id in held)]
