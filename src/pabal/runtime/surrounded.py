"""Publishing through middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from msgspec import structs

from pabal.model.errors import ConfigurationError, PabalError, PublishError, PublishTimeout, Unrouted
from pabal.model.event import extensions
from pabal.model.message import Message, check_headers
from pabal.model.names import check_channel, check_id
from pabal.model.transport import Post, Receipt
from pabal.runtime.middleware import AroundPublishing, Send, around_publishing
from pabal.runtime.publisher import Publisher, check_key, publish_error


def surround(around: Sequence[AroundPublishing], send: Send) -> Send:
    """`send` within middleware, the first outermost; what that has made of a message is checked."""

    async def through(message: Message) -> Receipt:
        async def checked(changed: Message) -> Receipt:
            return await send(check_changed(message, changed))

        return await around_publishing(around, checked)(message)

    return through


class SurroundedPublisher(Publisher):
    """A publisher whose messages pass through middleware on their way to `inner`."""

    def __init__(self, inner: Publisher, around: Sequence[AroundPublishing]) -> None:
        vars(self).update(vars(inner))  # messages are made as there
        self._inner = inner
        self._around = around

    async def publish(self, message: Message, *, delay: float | None, timeout: float) -> Receipt:
        """Publish one message; raises what `inner` or middleware raises."""
        return await surround(self._around, partial(self._inner.publish, delay=delay, timeout=timeout))(message)

    async def publish_posts(self, posts: Sequence[Post], *, timeout: float) -> Sequence[Receipt]:
        """Publish messages, each through the middleware by itself, and all that come through together.

        Raises PublishError when any was not taken; what middleware raised is the error of its message alone.
        """
        together = _Together(posts, self._inner, timeout)
        tasks = [
            asyncio.get_running_loop().create_task(self._one(together, place), name=f"pabal publish: {place}")
            for place in range(len(posts))
        ]
        try:
            await together.complete.wait()
            await together.send_all()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return _receipts(posts, results)

    async def _one(self, together: _Together, place: int) -> Receipt:
        send = around_publishing(self._around, partial(together.send, place))
        try:
            return await send(together.posts[place].message)
        finally:
            together.here(place)


class _Together:
    """Messages that are published in one batch, once each has come through its middleware or will never come.

    `complete` is set then. One that is sent again, after it failed, goes by itself.
    """

    def __init__(self, posts: Sequence[Post], inner: Publisher, timeout: float) -> None:
        self.posts = posts
        self.complete = asyncio.Event()
        self._inner = inner
        self._timeout = timeout
        self._expected = set(range(len(posts)))
        self._waiting: dict[int, tuple[Post, asyncio.Future[Receipt]]] = {}

    def here(self, place: int) -> None:
        """This one need not be waited for any longer."""
        self._expected.discard(place)
        if not self._expected:
            self.complete.set()

    async def send(self, place: int, changed: Message) -> Receipt:
        post = self.posts[place]
        post = structs.replace(post, message=check_changed(post.message, changed))
        if place not in self._expected:
            return (await self._inner.publish_posts([post], timeout=self._timeout))[0]
        taken = asyncio.get_running_loop().create_future()
        self._waiting[place] = post, taken
        self.here(place)
        receipt: Receipt = await taken
        return receipt

    async def send_all(self) -> None:
        """Publish what has come through, in the order in which it was given, and tell each what became of it."""
        places = sorted(self._waiting)
        posts = [self._waiting[place][0] for place in places]
        results: Sequence[Receipt | Exception] = []
        try:
            results = await self._inner.publish_posts(posts, timeout=self._timeout) if posts else []
        except PublishError as error:
            results = [_result(receipt, error) for receipt in error.receipts] or [error] * len(posts)
        except Exception as error:  # noqa: BLE001 - it is raised where each message was sent
            results = [error] * len(posts)
        for place, result in zip(places, results, strict=True):
            taken = self._waiting[place][1]
            if taken.done():  # its middleware gave up meanwhile
                continue
            if isinstance(result, Receipt):
                taken.set_result(result)
            else:
                taken.set_exception(result)


def _result(receipt: Receipt, error: PublishError) -> Receipt | Exception:
    """What publishing this message alone would have come to, when publishing the batch raised `error`."""
    if receipt.error is not None:
        return publish_error([receipt.error], [receipt])
    if receipt.routed is False and isinstance(error, Unrouted | PublishTimeout):
        return type(error)(str(error), receipts=[receipt])
    return receipt


def _receipts(posts: Sequence[Post], results: Sequence[Receipt | BaseException]) -> Sequence[Receipt]:
    """The receipts, or what is raised in their place."""
    receipts: list[Receipt] = []
    errors: list[PabalError] = []
    for post, result in zip(posts, results, strict=True):
        if isinstance(result, Receipt):
            receipts.append(result)
            continue
        if not isinstance(result, Exception):
            raise result
        error = _as_ours(result)
        errors.append(error)
        own = error.receipts if isinstance(error, PublishError) else ()
        receipts.append(own[0] if len(own) == 1 else Receipt(post.message.id, error=error))
    if not errors:
        return receipts
    first = errors[0]
    if len(errors) == len(posts) and all(error is first for error in errors):
        raise first
    if isinstance(first, Unrouted | PublishTimeout) and all(type(error) is type(first) for error in errors):
        raise type(first)(str(first), receipts=receipts)
    raise publish_error(errors, receipts) from first.__cause__


def _as_ours(error: Exception) -> PabalError:
    if isinstance(error, PabalError):
        return error
    failed = PublishError(f"middleware failed: {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed


def check_changed(given: Message, changed: Message) -> Message:
    """Return what middleware has made of a message, if it may be sent.

    Raises ConfigurationError or CodecError otherwise.
    """
    if changed is given:
        return given
    if not isinstance(changed, Message):
        raise ConfigurationError(f"middleware around publishing hands on a Message, not a {type(changed).__name__}")
    if changed.reply_to != given.reply_to:
        raise ConfigurationError("middleware cannot change where an answer goes (reply_to)")
    check_channel(changed.channel)
    check_id(changed.id)
    check_headers(changed.headers)
    extensions(changed)
    if changed.key is not None:
        check_key(changed.key)
    return changed
