"""Saboteurs of routing: what the publisher is told."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pabal.model.transport import Post, Receipt
from pabal.testing.saboteurs.saboteur import saboteur
from pabal.testing.saboteurs.tampering import TamperedTransport


class _Telling(TamperedTransport):
    """Changes what receipts say."""

    def tell(self, receipt: Receipt) -> Receipt:
        """What the publisher is told instead."""
        raise NotImplementedError

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """With other receipts."""
        return [self.tell(receipt) for receipt in await super().publish(posts)]


@saboteur("receivers_are_counted")
class CountsOneTooMany(_Telling):
    """Counts one receiver too many."""

    def tell(self, receipt: Receipt) -> Receipt:
        """One more."""
        return replace(receipt, receivers=(receipt.receivers or 0) + 1)


@saboteur("routed_is_told", "listener_counts_as_routed", "unrouted_is_parked", "unparked_leaves_nothing")
class SaysRouted(_Telling):
    """Says that somebody takes every message."""

    def tell(self, receipt: Receipt) -> Receipt:
        """Always taken."""
        return replace(receipt, routed=True)


@saboteur("routed_is_told", "listener_counts_as_routed")
class SaysUnrouted(_Telling):
    """Says that nobody takes any message."""

    def tell(self, receipt: Receipt) -> Receipt:
        """Never taken."""
        return replace(receipt, routed=False)


@saboteur("post_for_unknown_group_is_an_error")
class SwallowsErrors(_Telling):
    """Says that it took what it did not."""

    def tell(self, receipt: Receipt) -> Receipt:
        """No error."""
        return replace(receipt, error=None)


class _Posting(TamperedTransport):
    """Changes what is posted."""

    def change(self, post: Post) -> Post:
        """What is published instead."""
        raise NotImplementedError

    async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
        """Other posts."""
        return await super().publish([self.change(post) for post in posts])


@saboteur("unrouted_is_parked", "unrouted_redrive_goes_to_all_there_are")
class ParksNothing(_Posting):
    """Drops what nobody takes."""

    def change(self, post: Post) -> Post:
        """Not to be parked."""
        return replace(post, park=False)


@saboteur("unparked_leaves_nothing")
class ParksAlways(_Posting):
    """Parks what was not to be parked."""

    def change(self, post: Post) -> Post:
        """To be parked."""
        return replace(post, park=True)


@saboteur("post_for_one_group_reaches_it_alone", "post_for_unknown_group_is_an_error")
class PostsToAll(_Posting):
    """Sends to every group what is for one."""

    def change(self, post: Post) -> Post:
        """For all."""
        return replace(post, group=None)


@saboteur("post_for_one_group_reaches_it_alone")
class ForgetsWhatAPostCarries(_Posting):
    """Forgets the attempts and failures that a post carries along."""

    def change(self, post: Post) -> Post:
        """A fresh start."""
        return replace(post, attempt=0, errors=())
