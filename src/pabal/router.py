"""Registering handlers and listeners, on a bus or apart from it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, TypeVar, Unpack, get_args, overload

from msgspec import structs

from pabal.model.channel import Channel
from pabal.model.codec import Codec, JsonCodec, check_codec
from pabal.model.errors import ConfigurationError
from pabal.model.names import check_channel, check_group, check_source
from pabal.model.transport import OnDead, Start
from pabal.runtime.batch import Batch
from pabal.runtime.handler import Handler
from pabal.runtime.middleware import AroundHandling, AroundPublishing, check_middleware
from pabal.runtime.parameters import type_name
from pabal.runtime.providing import Provider, read_provider
from pabal.runtime.registering import Delivered, HandlerOptions, Registers, RegistersBatches, RegistersPublishing
from pabal.runtime.retry import Backoff
from pabal.runtime.signature import Function, function_name, read_signature

F = TypeVar("F", bound=Function)
Handled = TypeVar("Handled", bound=AroundHandling)
Published = TypeVar("Published", bound=AroundPublishing)
T = TypeVar("T")
U = TypeVar("U")


class Router:
    """Handlers and listeners of one module, for a bus to include.

    Every `Bus` is one too. Signatures are checked against `codec`, which is to be the bus's.
    """

    def __init__(self, *, codec: Codec | None = None) -> None:
        if codec is not None:
            check_codec(codec)
        self._codec = JsonCodec() if codec is None else codec
        self._handlers: list[Handler] = []
        self._provided: dict[Any, Provider] = {}
        self._around_handling: list[AroundHandling] = []
        self._around_publishing: list[AroundPublishing] = []

    @overload
    def handler(
        self, source: Channel[T], *, group: str, publishes: Channel[U], **options: Unpack[HandlerOptions]
    ) -> RegistersPublishing[T, U]: ...
    @overload
    def handler(
        self, source: str, *, group: str, publishes: Channel[U], **options: Unpack[HandlerOptions]
    ) -> RegistersPublishing[Any, U]: ...
    @overload
    def handler(
        self, source: Channel[T], *, group: str, batch: Batch, **options: Unpack[HandlerOptions]
    ) -> RegistersBatches[T]: ...
    @overload
    def handler(
        self, source: Channel[T], *, group: str, publishes: str | None = None, **options: Unpack[HandlerOptions]
    ) -> Registers[T]: ...
    @overload
    def handler(
        self,
        source: str,
        *,
        group: str,
        batch: Batch | None = None,
        publishes: str | None = None,
        **options: Unpack[HandlerOptions],
    ) -> Callable[[F], F]: ...
    def handler(
        self,
        source: Channel[Any] | str,
        *,
        group: str,
        retry: Backoff | None = None,
        concurrency: int = 1,
        batch: Batch | None = None,
        ordered: bool = False,
        on_dead: OnDead = "park",
        timeout: float | None = None,
        delivery: Delivered = "at-least-once",
        start: Start | None = None,
        publishes: Channel[Any] | str | None = None,
    ) -> Any:
        """Register a function for the messages of a channel or pattern, shared out among the group's members.

        Args:
            source: a channel or a pattern.
            group: the group's name; every group gets each message once.
            retry: when failed messages are tried again; None: the bus's.
            concurrency: how many messages, or batches, the function handles at once.
            batch: how many messages one call gets; its first parameter is a list then, and a `BatchContext` settles
                single ones. It answers no requests.
            ordered: messages of one key one after another, across the group.
            on_dead: of ordered messages, what becomes of the later ones of a key whose message became a dead letter:
                ``"park"`` holds them back until it is redriven or discarded, ``"continue"`` lets them run.
            timeout: seconds that one call may take; for ``async def`` only.
            delivery: ``"at-most-once"`` permits a transport that may lose messages.
            start: where a new group begins, on a transport that keeps a log: at the ``"oldest"`` message, at what is
                ``"new"``, or at a time; None: the channel's first group at the oldest, later ones at what is new.
            publishes: the channel to which a result other than None is published, as by `Context.publish`, before the
                message is done; where that fails, the attempt has failed. A request is answered as well. Not with
                batch=.

        Raises ConfigurationError for a bad name, a second handler of the same group and source, a signature that
        cannot be called, and while the bus runs.
        """
        check_group(group)
        wanted = source_of(source)
        _check_concurrency(concurrency)
        if timeout is not None and not timeout > 0:
            raise ConfigurationError("timeout is more than 0 seconds")
        if delivery not in get_args(Delivered):
            raise ConfigurationError(f"delivery is one of {', '.join(get_args(Delivered))}, not {delivery!r}")
        if on_dead not in get_args(OnDead):
            raise ConfigurationError(f"on_dead is one of {', '.join(get_args(OnDead))}, not {on_dead!r}")
        if on_dead == "continue" and not ordered:
            raise ConfigurationError(
                'on_dead="continue" is for ordered=True; messages without an order never wait for a dead letter'
            )
        check_start(start)
        if publishes is not None and not isinstance(publishes, Channel):
            check_channel(publishes)
        if publishes is not None and batch is not None:
            raise ConfigurationError(
                "publishes= is for handlers of single messages; a batch publishes by context.publish, naming causes"
            )

        def register(function: F) -> F:
            signature = read_signature(function, self._codec, batch=batch is not None)
            if timeout is not None and signature.blocking:
                raise ConfigurationError(
                    f"handler {function_name(function)} is a plain def, whose thread cannot be cancelled: "
                    "leave out timeout=, or make it async def"
                )
            if publishes is not None and not signature.answers:
                raise ConfigurationError(
                    f"handler {function_name(function)} returns None, so nothing would be published to {publishes}; "
                    "annotate what it returns, or leave out publishes="
                )
            self._register(
                Handler(
                    function=function,
                    signature=signature,
                    source=wanted,
                    group=group,
                    retry=retry,
                    concurrency=concurrency,
                    batch=batch,
                    ordered=ordered,
                    on_dead=on_dead,
                    timeout=timeout,
                    at_most_once=delivery == "at-most-once",
                    start=start,
                    publishes=publishes,
                )
            )
            return function

        return register

    @overload
    def listen(self, source: Channel[T], *, concurrency: int = 1) -> Registers[T]: ...
    @overload
    def listen(self, source: str, *, concurrency: int = 1) -> Callable[[F], F]: ...
    def listen(self, source: Channel[Any] | str, *, concurrency: int = 1) -> Any:
        """Register a function that gets its own copy of every message while this process lives.

        At most once: a failure is logged and counted, not tried again. Raises as `handler` does.
        """
        wanted = source_of(source)
        _check_concurrency(concurrency)

        def register(function: F) -> F:
            self._register(
                Handler(
                    function=function,
                    signature=read_signature(function, self._codec),
                    source=wanted,
                    group=None,
                    concurrency=concurrency,
                )
            )
            return function

        return register

    def provide(
        self, type: Callable[..., T], factory: T | Callable[[], T] | Callable[[], AbstractAsyncContextManager[T]]
    ) -> None:
        """Give handlers a value of this type, where a parameter after the first is annotated with it.

        Args:
            type: what handlers ask for. Those of a router that provides it too get the router's.
            factory: the value, one for all calls; or a function decorated with ``@asynccontextmanager``, entered
                around each call of a handler, in the event loop, and exited with its outcome, so that what the handler
                raised is raised in it; or a function without parameters, called for each call, whose result is the
                value, or an async context manager that gives it.

        Where it fails, the attempt fails. Raises ConfigurationError for a type that is provided already and a factory
        that cannot be one.
        """
        provider = read_provider(type, factory)
        if type in self._provided:
            raise ConfigurationError(f"{type_name(type)} is provided already")
        self._provided[type] = provider

    def around_handling(self, middleware: Handled) -> Handled:
        """Register ``async def m(context, call_next)``, which is called around each call of a handler or listener.

        It has the `Context` of the delivery, and `call_next()` returns what the handler returns, or raises what that
        raises. What `m` returns is the result, what it raises is the failure; without `call_next` the handler is not
        called. It runs within the handler's timeout and context variables, in the event loop, outside of what is
        provided. The first that is registered is outermost, and a bus's is outside of a router's.

        Raises ConfigurationError for what cannot be called so, and once the bus is used.
        """
        self._check_unused("register middleware")
        check_middleware(middleware, "context, call_next")
        self._around_handling.append(middleware)
        return middleware

    def around_publishing(self, middleware: Published) -> Published:
        """Register ``async def m(message, call_next)``, which is called around each message that is sent.

        `call_next(message)` hands it on, changed or not, and returns its `Receipt` or raises as `Bus.publish` does;
        `m` returns the receipt. It is called for each message of `publish_many`, which are then sent together, and for
        requests, where `call_next` returns once the request is sent. The first that is registered is outermost. A
        router's is called for what its handlers send, before the bus's.

        Raises ConfigurationError for what cannot be called so, and once the bus is used.
        """
        self._check_unused("register middleware")
        check_middleware(middleware, "message, call_next")
        self._around_publishing.append(middleware)
        return middleware

    def include(self, router: Router) -> None:
        """Take over what `router` has registered so far. Raises as `handler` does, and takes none then.

        Its handlers keep its middleware and what it provides, and get the rest from here.
        """
        before = list(self._handlers)
        try:
            for handler in router._handlers:
                self._register(router._completed(handler))
        except ConfigurationError:
            self._handlers = before
            raise

    def _completed(self, handler: Handler) -> Handler:
        """A handler with what this router gives to its own."""
        return structs.replace(
            handler,
            provided={**self._provided, **handler.provided},
            around=(*self._around_handling, *handler.around),
            around_publishing=(*handler.around_publishing, *self._around_publishing),
        )

    def _check_unused(self, what: str) -> None:
        """A router is never in use itself."""

    def _register(self, handler: Handler) -> None:
        group = handler.group
        # Listeners share nothing, so that a source may have any number of them.
        if group is not None and any(h.source == handler.source and h.group == group for h in self._handlers):
            raise ConfigurationError(
                f"group {group!r} of {handler.source} has a handler in this bus already; "
                "give one of them another group, or raise its concurrency"
            )
        self._handlers.append(handler)


def source_of(source: Channel[Any] | str) -> str:
    """The channel or pattern that `source` names; raises ConfigurationError when it is none."""
    return source.name if isinstance(source, Channel) else check_source(source)


def check_start(start: Start | None) -> None:
    """Raise ConfigurationError for a `start` that is none."""
    if start is None or start in ("oldest", "new"):
        return
    if not isinstance(start, datetime):
        raise ConfigurationError(f"start is oldest, new or a datetime, not {start!r}")
    if start.utcoffset() is None:
        raise ConfigurationError("start needs a time zone, as in datetime(2026, 1, 1, tzinfo=UTC)")


def _check_concurrency(concurrency: int) -> None:
    if type(concurrency) is not int or concurrency < 1:
        raise ConfigurationError("concurrency is a whole number, at least 1")
