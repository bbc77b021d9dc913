"""Saboteurs of dead letters and of administration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from pabal.model.dead import DeadLetter, LetterFilter, Redriven
from pabal.model.errors import ConfigurationError
from pabal.model.message import new_id
from pabal.model.transport import Finding, GroupId, GroupStatus, Post
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedTransport


@saboteur("letters_are_found")
class IgnoresTheFilter(TamperedTransport):
    """Lists letters whatever their reason."""

    async def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """All reasons."""
        async for letter in self.inner.letters(replace(wanted, reason=None)):
            yield letter


@saboteur("letters_are_found")
class ListsNewestFirst(TamperedTransport):
    """Lists the newest letters first."""

    async def letters(self, wanted: LetterFilter, /) -> AsyncIterator[DeadLetter]:
        """Turned round."""
        for letter in reversed([letter async for letter in self.inner.letters(wanted)]):
            yield letter


@saboteur("parked_letter_is_kept_whole")
class ParksWithoutHistory(TamperedTransport):
    """Loses the failed attempts of a letter that is parked."""

    async def park(self, letters: Sequence[DeadLetter], /) -> None:
        """No attempts."""
        await self.inner.park([replace(letter, attempts=()) for letter in letters])


class _Redriving(TamperedTransport):
    """Redrives by publishing."""

    def post(self, letter: DeadLetter) -> Post:
        """What is published for a letter."""
        raise NotImplementedError

    async def redrive(self, ids: Sequence[str], /) -> Sequence[Redriven]:
        """As posts."""
        letters = [letter async for letter in self.inner.letters(LetterFilter(ids=ids))]
        await self.inner.publish([self.post(letter) for letter in letters])
        await self.inner.discard([letter.id for letter in letters])
        return [Redriven(letter.id, letter.message.id, 1) for letter in letters]


@saboteur("redrive_reaches_the_group_that_failed")
class RedrivesToAll(_Redriving):
    """Redrives to every group."""

    def post(self, letter: DeadLetter) -> Post:
        """For all."""
        return Post(letter.message, redrive=letter.redrives + 1)


def _group(letter: DeadLetter) -> GroupId | None:
    return GroupId(letter.source or "", letter.group) if letter.group is not None else None


@saboteur("redriven_goes_first")
class RedrivesLast(_Redriving):
    """Puts a redriven message behind all others of its key."""

    def post(self, letter: DeadLetter) -> Post:
        """At the end."""
        return Post(letter.message, group=_group(letter), redrive=letter.redrives + 1)


@saboteur("redrive_reaches_the_group_that_failed")
class RedrivesUnderANewId(_Redriving):
    """Gives a redriven message a new id."""

    def post(self, letter: DeadLetter) -> Post:
        """Another message."""
        return Post(replace(letter.message, id=new_id()), group=_group(letter), redrive=letter.redrives + 1)


@saboteur("redrive_reaches_the_group_that_failed")
class CountsNoRedrives(_Redriving):
    """Forgets how often a message was redriven."""

    def post(self, letter: DeadLetter) -> Post:
        """As if for the first time."""
        return Post(letter.message, group=_group(letter))


@saboteur("redrive_reaches_the_group_that_failed")
class RedrivesWithOldAttempts(_Redriving):
    """Goes on counting attempts where the letter ended."""

    def post(self, letter: DeadLetter) -> Post:
        """With the attempts so far."""
        return Post(letter.message, group=_group(letter), attempt=1, redrive=letter.redrives + 1)


@saboteur("redrive_takes_the_chosen")
class RedrivesEverything(TamperedTransport):
    """Redrives all letters of a channel when one is chosen."""

    async def redrive(self, ids: Sequence[str], /) -> Sequence[Redriven]:
        """And the others."""
        channels = {letter.message.channel async for letter in self.inner.letters(LetterFilter(ids=ids))}
        results: Sequence[Redriven] = await self.inner.redrive(ids)
        for channel in channels:
            others = [letter.id async for letter in self.inner.letters(LetterFilter(channel=channel))]
            await self.inner.redrive(others)
        return results


@saboteur("unrouted_redrive_goes_to_all_there_are")
class LosesUnroutedRedrives(TamperedTransport):
    """Forgets a letter whose redrive nobody takes."""

    async def redrive(self, ids: Sequence[str], /) -> Sequence[Redriven]:
        """Gone either way."""
        results: Sequence[Redriven] = await self.inner.redrive(ids)
        await self.inner.discard(ids)
        return results


@saboteur("discarded_is_gone")
class DiscardsTooMuch(TamperedTransport):
    """Discards all letters of a channel when one is chosen."""

    async def discard(self, ids: Sequence[str], /) -> int:
        """And the others."""
        channels = {letter.message.channel async for letter in self.inner.letters(LetterFilter(ids=ids))}
        discarded: int = await self.inner.discard(ids)
        for channel in channels:
            others = [letter.id async for letter in self.inner.letters(LetterFilter(channel=channel))]
            await self.inner.discard(others)
        return discarded


@saboteur("groups_are_listed")
class HidesTheBacklog(TamperedTransport):
    """Says that no group has anything to do."""

    async def groups(self) -> Sequence[GroupStatus]:
        """All quiet."""
        return [replace(status, ready=0, oldest=None) for status in await self.inner.groups()]


@saboteur("removed_group_leaves_dead_letters")
class DiscardsRemovedGroups(TamperedTransport):
    """Drops the backlog of a group that is removed."""

    async def remove(self, group: GroupId, /, *, discard: bool = False) -> int:  # noqa: ARG002 - not heeded
        """Always discarding."""
        return int(await self.inner.remove(group, discard=True))


@saboteur("discarded_group_leaves_nothing")
class ParksDiscardedGroups(TamperedTransport):
    """Parks the backlog of a group although it was to be discarded."""

    async def remove(self, group: GroupId, /, *, discard: bool = False) -> int:  # noqa: ARG002 - not heeded
        """Never discarding."""
        return int(await self.inner.remove(group, discard=False))


@saboteur("living_or_unknown_group_is_not_removed")
class RemovesAnything(TamperedTransport):
    """Says that it removed a group that lives, or that there is not."""

    async def remove(self, group: GroupId, /, *, discard: bool = False) -> int:
        """Never an error."""
        try:
            return int(await self.inner.remove(group, discard=discard))
        except ConfigurationError:
            return 0


@saboteur("findings_are_told")
class FindsNothing(TamperedTransport):
    """Finds itself without weakness."""

    async def findings(self) -> Sequence[Finding]:
        """All well."""
        return [Finding("ok", "all is well")]
