"""Handling many messages in one call: how many, and what the handler is given beside their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Unpack, get_args, get_origin, overload

import msgspec

from pabal.model.channel import Channel
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.model.outcome import Reject, Retry
from pabal.model.transport import Delivery, Receipt
from pabal.runtime.context import BlockingContext, Bridge, Context, Handling, PublishOptions, RequestOptions

R = TypeVar("R")
T = TypeVar("T")


class Batch(msgspec.Struct, frozen=True):
    """Hand a handler up to `size` messages at once, waiting at most `wait` seconds after the first for more.

    Raises ConfigurationError for a size below 1 or a wait that is no time.
    """

    size: int = 100
    wait: float = 0.1

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise ConfigurationError("Batch needs a size that is a whole number, at least 1")
        if not 0 <= self.wait < 1e10:
            raise ConfigurationError("Batch needs a wait of at least 0 seconds")


class BatchContext(Context):
    """The deliveries of one batch as its handler sees them, in the order of the list it is given.

    An item is named by its place in that list, from 0 on. Those that `retry` or `reject` names end so, whatever the
    handler does; the rest follows the handler: it returns, and they are done; it raises, and each is tried again by
    its own backoff.

    Attributes:
        messages: the message of each item.
        attempts: of each item, 1 for the first delivery to this group.
        message: the first item's message.
        attempt: the first item's attempt.
    """

    __slots__ = ("_errors", "_items", "attempts", "messages")

    def __init__(self, deliveries: Sequence[Delivery], handling: Handling) -> None:
        super().__init__(deliveries[0].message, deliveries[0].attempt, handling)
        self.messages: Sequence[Message] = tuple(delivery.message for delivery in deliveries)
        self.attempts: Sequence[int] = tuple(delivery.attempt for delivery in deliveries)
        self._items: dict[int, Context] = {}
        self._errors: dict[int, Retry | Reject] = {}

    def retry(self, index: int, why: str = "", *, after: float | None = None) -> None:
        """Try this item again after so many seconds (None: by the backoff); a dead letter once attempts are exhausted.

        An item that is named twice ends as it was named last. Raises ConfigurationError when there is no such item.
        """
        self._errors[self._place(index)] = Retry(why, after=after)

    def reject(self, index: int, why: str = "") -> None:
        """This item can never be handled: a dead letter. Raises as `retry` does."""
        self._errors[self._place(index)] = Reject(why)

    def error_of(self, index: int) -> Retry | Reject | None:
        """How the handler has settled this item; None: it follows the others."""
        return self._errors.get(index)

    async def publish(  # type: ignore[override]  # a batch has no cause of its own, so one has to be named
        self,
        channel: Channel[T] | str,
        value: T,
        *,
        cause: int | None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float | None = None,
        expires: float | None = None,
        id: str | None = None,
        timeout: float = 10.0,
    ) -> Receipt:
        """Publish what follows from the item `cause`, as `Context.publish` does in a handler of that item alone.

        The new message's id derives from that item's, so that it is the same when the item comes again in another
        batch. With `cause` None the message follows from the batch as a whole: it correlates with nothing, and a
        retry publishes it under another id unless `id` is given.
        """
        if cause is not None:
            return await self._item(cause).publish(
                channel, value, key=key, headers=headers, delay=delay, expires=expires, id=id, timeout=timeout
            )
        publisher = self._handling.publisher
        message = publisher.message(channel, value, key=key, headers=headers, expires=expires, id=id)
        return await publisher.publish(message, delay=delay, timeout=timeout)

    @overload
    async def request(
        self,
        channel: Channel[T] | str,
        value: T,
        *,
        reply: type[R],
        cause: int | None = None,
        **options: Unpack[RequestOptions],
    ) -> R: ...
    @overload
    async def request(
        self,
        channel: Channel[T] | str,
        value: T,
        *,
        reply: UnionType,
        cause: int | None = None,
        **options: Unpack[RequestOptions],
    ) -> Any: ...
    @overload
    async def request(
        self, channel: Channel[T] | str, value: T, *, cause: int | None = None, **options: Unpack[RequestOptions]
    ) -> Any: ...
    async def request(
        self,
        channel: Channel[Any] | str,
        value: object,
        *,
        cause: int | None = None,
        reply: Any = Any,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Any:
        """Ask, on behalf of the item `cause` where one is named. Raises as `Bus.request` does."""
        if cause is not None:
            return await self._item(cause).request(
                channel, value, reply=reply, key=key, headers=headers, timeout=timeout
            )
        of = self._handling
        message = of.publisher.message(channel, value, key=key, headers=headers, expires=timeout)
        return await of.requester.request(message, reply=reply, timeout=timeout)

    def blocking(self, bridge: Bridge) -> Context:
        """This context for a plain ``def`` handler."""
        return BlockingBatchContext(self, bridge)

    def _item(self, index: int) -> Context:
        if index not in self._items:
            place = self._place(index)
            self._items[index] = Context(self.messages[place], self.attempts[place], self._handling)
        return self._items[index]

    def _place(self, index: int) -> int:
        if type(index) is not int or not 0 <= index < len(self.messages):
            raise ConfigurationError(
                f"this batch has no item {index!r}: an item is named by its place in the list, "
                f"from 0 to {len(self.messages) - 1}"
            )
        return index


class BlockingBatchContext(BatchContext):
    """The context of a plain ``def`` handler of batches: `publish` and `request` block."""

    __slots__ = ("_bridge", "_inner")

    def __init__(self, inner: BatchContext, bridge: Bridge) -> None:
        for name in ("message", "attempt", "messages", "attempts", "_handling", "_ordinals", "_items", "_errors"):
            setattr(self, name, getattr(inner, name))
        self._inner = inner
        self._bridge = bridge

    def publish(  # type: ignore[override]
        self, channel: Channel[T] | str, value: T, *, cause: int | None, **options: Unpack[PublishOptions]
    ) -> Receipt:
        """Publish and wait for the receipt; options and errors as in `BatchContext.publish`."""
        return self._bridge.wait_for(partial(self._inner.publish, channel, value, cause=cause, **options))

    @overload  # type: ignore[override]
    def request(
        self,
        channel: Channel[T] | str,
        value: T,
        *,
        reply: type[R],
        cause: int | None = None,
        **options: Unpack[RequestOptions],
    ) -> R: ...
    @overload
    def request(
        self,
        channel: Channel[T] | str,
        value: T,
        *,
        reply: UnionType,
        cause: int | None = None,
        **options: Unpack[RequestOptions],
    ) -> Any: ...
    @overload
    def request(
        self, channel: Channel[T] | str, value: T, *, cause: int | None = None, **options: Unpack[RequestOptions]
    ) -> Any: ...
    def request(self, channel: Channel[Any] | str, value: object, **options: Any) -> Any:
        """Ask and wait for the answer; options and errors as in `BatchContext.request`."""
        return self._bridge.wait_for(partial(self._inner.request, channel, value, **options))


def item_type(who: str, hint: Any) -> Any:
    """The type of the items of a batch, from its handler's first parameter; raises ConfigurationError for no list."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if hint is Any or hint is list:
        return Any
    if get_origin(hint) is not list:
        shown = getattr(hint, "__name__", hint)
        raise ConfigurationError(f"handler {who} takes batches, so its first parameter is a list: list[{shown}]")
    return get_args(hint)[0]


def check_context(who: str, parameter: str, hint: Any, *, batch: bool) -> None:
    """Raise ConfigurationError for a parameter that takes a single message's context in a batch, or the other way."""
    wanted = (hint, *(get_args(hint) if NoneType in get_args(hint) else ()))
    if batch and any(type in (Context, BlockingContext, Message) for type in wanted):
        raise ConfigurationError(
            f"handler {who}: parameter {parameter!r} takes what belongs to one message; "
            "a batch has many, so annotate it as BatchContext, which has their messages"
        )
    if not batch and any(type in (BatchContext, BlockingBatchContext) for type in wanted):
        raise ConfigurationError(
            f"handler {who}: parameter {parameter!r} takes a BatchContext, so say batch=Batch(...), "
            "or annotate it as Context"
        )
