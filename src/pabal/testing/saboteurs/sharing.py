"""Saboteurs of groups, listeners and patterns: who gets what."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.model.outcome import ACKED, Settlement
from pabal.model.transport import Delivery, GroupId, Post, Receipt, Settled, Source, Subscription
from pabal.testing.saboteurs.prefetching import PrefetchingSubscription
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport


@saboteur("every_group_gets_all", "post_for_one_group_reaches_it_alone", "receivers_are_counted")
class OneGroupForAll(TamperedTransport):
    """Lets the second group of a channel share with the first."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """In the first group of the channel."""
        if source.group is not None:
            source = replace(source, group=self.shared.setdefault(source.channel, source.group))
        return await super().subscribe(source)


@saboteur("same_name_on_other_channel_is_another_group", "overlapping_patterns_are_groups_of_their_own")
class OneChannelForAGroup(TamperedTransport):
    """Takes a group's name for its identity, whatever the channel."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """On the channel where the name was first seen."""
        if source.group is not None:
            source = replace(source, channel=self.shared.setdefault(source.group, source.channel))
        return await super().subscribe(source)


class _Hoarding(PrefetchingSubscription):
    def resize(self, window: int, /) -> None:
        """Not heeded."""


@saboteur("resized_window_holds")
class IgnoresResize(TamperedTransport):
    """Holds as much ready as at first, whatever resize says."""

    reading = _Hoarding


class _NeverEmpty(PrefetchingSubscription):
    def __init__(self, inner: Subscription, transport: TamperedTransport, source: Source) -> None:
        inner.resize(max(1, source.window))
        super().__init__(inner, transport, replace(source, window=max(1, source.window)))

    def resize(self, window: int, /) -> None:
        super().resize(max(1, window))


@saboteur("window_of_zero_takes_nothing", "resize_to_zero_gives_back")
class TakesZeroForOne(TamperedTransport):
    """Holds one delivery ready where it should hold none."""

    reading = _NeverEmpty


class _Keeping(PrefetchingSubscription):
    def trim(self) -> None:
        """Nothing goes back."""


@saboteur("resize_to_zero_gives_back")
class KeepsWhatItHeld(TamperedTransport):
    """Takes no more after resize, but gives nothing back of what it held."""

    reading = _Keeping


@saboteur("slow_member_does_not_hoard", "joining_member_shares")
class Hoards(TamperedTransport):
    """Holds ready all there is, whatever the window."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """With a window without end."""
        subscription = _Hoarding(await self.inner.subscribe(source), self, replace(source, window=10_000))
        self.subscriptions.append(subscription)
        return subscription


class _Dying(TamperedSubscription):
    async def aclose(self) -> None:
        await super().aclose()
        if self.source.group is not None:
            try:
                await self.transport.inner.remove(GroupId(self.source.channel, self.source.group), discard=True)
            except (ConfigurationError, ConnectionFailed):
                return  # others still read it


@saboteur("group_keeps_its_backlog", "reopening_loses_nothing", "delayed_publish_outlives_its_readers")
class GroupsDieWithTheirReaders(TamperedTransport):
    """Forgets a group when the last of its members closes."""

    reading = _Dying


@saboteur("later_group_gets_what_comes_later")
class GivesLaterGroupsThePast(TamperedTransport):
    """Gives a new group what was published before it came."""

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Kept in mind for later groups."""
        for post in posts:
            self.shared.setdefault(post.message.channel, []).append(post.message)
        return await super().publish(posts)

    async def subscribe(self, source: Source, /) -> Subscription:
        """With the past of the channel."""
        subscription = await super().subscribe(source)
        id = GroupId(source.channel, source.group or "")
        if source.group is not None and id not in self.shared.setdefault("groups", set()):
            self.shared["groups"].add(id)
            await self.inner.publish([Post(message, group=id) for message in self.shared.get(source.channel, [])])
        return subscription


class _Haunted(TamperedSubscription):
    """A listener that first gets what was published before it came."""

    def __init__(self, inner: Subscription, transport: TamperedTransport, source: Source) -> None:
        super().__init__(inner, transport, source)
        past = [] if source.group is not None else transport.shared.get(source.channel, [])
        self._past = [Delivery(message) for message in past]

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        if self._past:
            return [self._past.pop()]
        return await super().receive(limit)

    async def settle(self, settled: Sequence[Settled], /) -> Sequence[Settlement]:
        await super().settle(settled)
        return [Settlement.DONE for _ in settled]


@saboteur("later_listener_missed_the_earlier")
class GivesLaterListenersThePast(GivesLaterGroupsThePast):
    """Gives a new listener what was published before it came."""

    reading = _Haunted


@saboteur("every_listener_gets_a_copy")
class BroadcastsToOne(TamperedTransport):
    """Lets the listeners of a channel share one copy."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """All in one group."""
        return await super().subscribe(replace(source, group=source.group or "all-listeners"))


@saboteur("listeners_take_nothing_from_groups")
class ListenersJoinTheGroup(TamperedTransport):
    """Lets a listener take messages from a group of its channel."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """In the group that comes."""
        return await super().subscribe(replace(source, group=source.group or "audit"))


class _Lingering(TamperedSubscription):
    async def aclose(self) -> None:
        if self.source.group is not None:
            await super().aclose()


@saboteur("closed_listener_is_gone", "listener_counts_as_routed")
class ClosedListenersLinger(TamperedTransport):
    """Goes on sending copies to a listener that closed."""

    reading = _Lingering


class _Overflowing(TamperedSubscription):
    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        got = list(await super().receive(limit))
        if self.source.group is None:
            await self.inner.settle([Settled(delivery, ACKED) for delivery in got[2:]])
            return got[:2]
        return got


@saboteur("overflow_of_a_listener_is_parked")
class OverflowIsDropped(TamperedTransport):
    """Drops what a slow listener cannot take."""

    reading = _Overflowing


@saboteur("groups_take_patterns", "listeners_take_patterns")
class StarMatchesMore(TamperedTransport):
    """Takes a last star for one or more tokens."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """With a wider pattern."""
        if source.channel.endswith(".*"):
            source = replace(source, channel=f"{source.channel[:-1]}>")
        return await super().subscribe(source)


@saboteur("start_is_refused")
class IgnoresStart(TamperedTransport):
    """Takes a subscription's start without keeping it."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """As if none had been asked for."""
        return await super().subscribe(replace(source, start=None))


@saboteur(
    "keys_stay_in_order",
    "retry_holds_up_its_key_alone",
    "order_outlives_coming_and_going",
    "order_outlives_silence",
)
class ForgetsOrder(TamperedTransport):
    """Reads an ordered group like any other."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """Without order."""
        return await super().subscribe(replace(source, ordered=False))


@saboteur("dead_letter_parks_its_key", "redriven_goes_first", "discarded_letter_frees_its_key")
class ParksNoKey(TamperedTransport):
    """Lets the later messages of a key go on, whatever became of one before."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """Always to go on."""
        return await super().subscribe(replace(source, on_dead="continue"))


@saboteur("key_continues_where_asked")
class ParksEveryKey(TamperedTransport):
    """Holds back the later messages of a key whose message died, though they were to go on."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """Always to wait."""
        return await super().subscribe(replace(source, on_dead="park"))


@saboteur("group_is_read_one_way")
class ReadsAnyWay(TamperedTransport):
    """Lets a group be read as it is, however a subscriber asks for it."""

    async def subscribe(self, source: Source, /) -> Subscription:
        """The way that is not refused."""
        for ordered, on_dead in ((source.ordered, source.on_dead), (True, "park"), (True, "continue")):
            with suppress(ConfigurationError):
                return await super().subscribe(replace(source, ordered=ordered, on_dead=on_dead))
        return await super().subscribe(replace(source, ordered=False))
