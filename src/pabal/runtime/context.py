"""What a handler is given beside the body."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

import msgspec

from pabal.model.channel import Channel
from pabal.model.errors import ConfigurationError, ConnectionFailed
from pabal.model.message import Message
from pabal.model.transport import GroupId, Receipt

if TYPE_CHECKING:
    from pabal.runtime.publisher import Publisher
    from pabal.runtime.reply import Requester

R = TypeVar("R")
T = TypeVar("T")


class PublishOptions(TypedDict, total=False):
    """The options of `Context.publish`."""

    key: str | None
    headers: Mapping[str, str] | None
    delay: float | None
    expires: float | None
    id: str | None
    timeout: float


class RequestOptions(TypedDict, total=False):
    """The options of `Context.request` beside the reply's type."""

    key: str | None
    headers: Mapping[str, str] | None
    timeout: float


class Handling(msgspec.Struct, frozen=True):
    """What all deliveries of one handler have in common. `group` None is a listener's."""

    handler: str
    group: GroupId | None
    publisher: Publisher
    requester: Requester


class Context:
    """One delivery as its handler sees it.

    Attributes:
        message: the message.
        attempt: 1 for the first delivery to this group.
    """

    __slots__ = ("_handling", "_ordinals", "attempt", "message")

    def __init__(self, message: Message, attempt: int, handling: Handling) -> None:
        self.message = message
        self.attempt = attempt
        self._handling = handling
        self._ordinals: dict[bytes, int] | None = None

    @property
    def group(self) -> str | None:
        """The handler's group; None for a listener."""
        group = self._handling.group
        return None if group is None else group.name

    @property
    def handler(self) -> str:
        """The handler's name, as logs and reports have it: ``save (events.todo.newitem @ save-handler)``."""
        return self._handling.handler

    async def publish(
        self,
        channel: Channel[T] | str,
        value: T,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float | None = None,
        expires: float | None = None,
        id: str | None = None,
        timeout: float = 10.0,
    ) -> Receipt:
        """Publish what follows from this message: it keeps the correlation id and names this message as its cause.

        In a group the new message's id derives from this message's, so that a retried handler's output
        deduplicates. In a plain ``def`` handler it blocks and returns the receipt. Raises as `Bus.publish` does.
        """
        publisher, by = self._handling.publisher, self._handling.group
        message = publisher.message(
            channel, value, key=key, headers=headers, expires=expires, id=id, cause=self.message
        )
        if id is None and by is not None:
            if self._ordinals is None:
                self._ordinals = {}
            message = publisher.derived(message, self.message.id, by, self._ordinals)
        return await publisher.publish(message, delay=delay, timeout=timeout)

    @overload
    async def request(
        self, channel: Channel[T] | str, value: T, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> R: ...
    @overload
    async def request(
        self, channel: Channel[T] | str, value: T, *, reply: UnionType, **options: Unpack[RequestOptions]
    ) -> Any: ...
    @overload
    async def request(self, channel: Channel[T] | str, value: T, **options: Unpack[RequestOptions]) -> Any: ...
    async def request(
        self,
        channel: Channel[Any] | str,
        value: object,
        *,
        reply: Any = Any,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Any:
        """Ask, and wait for the answer as type `reply`. Raises as `Bus.request` does."""
        of = self._handling
        message = of.publisher.message(channel, value, key=key, headers=headers, expires=timeout, cause=self.message)
        return await of.requester.request(message, reply=reply, timeout=timeout)

    def blocking(self, bridge: Bridge) -> Context:
        """This context for a plain ``def`` handler."""
        return BlockingContext(self, bridge)


class Bridge:
    """The way from a handler's thread to the bus's loop, made in that loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._over = False

    def end(self) -> None:
        """Nobody waits for the handler any more: from now on it cannot reach the bus."""
        self._over = True

    def wait_for(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `call` gives, done by the bus's loop while this thread waits."""
        if self._over:
            raise ConnectionFailed("the bus was drained while this handler ran, so it cannot publish or ask any more")
        if threading.get_ident() == self._thread:
            raise ConfigurationError("this context blocks, so it cannot be used in the event loop; use async def")
        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()


class BlockingContext(Context):
    """The context of a plain ``def`` handler: `publish` and `request` block while the bus's loop does the work."""

    __slots__ = ("_bridge", "_inner")

    def __init__(self, inner: Context, bridge: Bridge) -> None:
        self.message = inner.message
        self.attempt = inner.attempt
        self._handling = inner._handling  # noqa: SLF001 - of this file
        self._inner = inner
        self._bridge = bridge

    def publish(  # type: ignore[override]
        self, channel: Channel[T] | str, value: T, **options: Unpack[PublishOptions]
    ) -> Receipt:
        """Publish and wait for the receipt; options and errors as in `Context.publish`."""
        return self._bridge.wait_for(partial(self._inner.publish, channel, value, **options))

    @overload  # type: ignore[override]
    def request(
        self, channel: Channel[T] | str, value: T, *, reply: type[R], **options: Unpack[RequestOptions]
    ) -> R: ...
    @overload
    def request(
        self, channel: Channel[T] | str, value: T, *, reply: UnionType, **options: Unpack[RequestOptions]
    ) -> Any: ...
    @overload
    def request(self, channel: Channel[T] | str, value: T, **options: Unpack[RequestOptions]) -> Any: ...
    def request(self, channel: Channel[Any] | str, value: object, **options: Any) -> Any:
        """Ask and wait for the answer; options and errors as in `Context.request`."""
        return self._bridge.wait_for(partial(self._inner.request, channel, value, **options))
