"""Registering handlers and listeners, on a bus or apart from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

from pabal.model.channel import Channel
from pabal.model.codec import Codec, JsonCodec
from pabal.model.errors import ConfigurationError
from pabal.model.names import check_group, check_source
from pabal.runtime.handler import Handler
from pabal.runtime.retry import Backoff
from pabal.runtime.signature import Function, function_name, read_signature

F = TypeVar("F", bound=Function)

Delivered = Literal["at-least-once", "at-most-once"]


class Router:
    """Handlers and listeners of one module, for a bus to include.

    Every `Bus` is one too. Signatures are checked against `codec`, which is to be the bus's.
    """

    def __init__(self, *, codec: Codec | None = None) -> None:
        self._codec = codec or JsonCodec()
        self._handlers: list[Handler] = []

    def handler(
        self,
        source: Channel[Any] | str,
        *,
        group: str,
        retry: Backoff | None = None,
        concurrency: int = 1,
        ordered: bool = False,
        timeout: float | None = None,
        delivery: Delivered = "at-least-once",
    ) -> Callable[[F], F]:
        """Register a function for the messages of a channel or pattern, shared out among the group's members.

        Args:
            source: a channel or a pattern.
            group: the group's name; every group gets each message once.
            retry: when failed messages are tried again; None: the bus's.
            concurrency: how many messages the function handles at once.
            ordered: messages of one key one after another, across the group.
            timeout: seconds that one call may take; for ``async def`` only.
            delivery: ``"at-most-once"`` permits a transport that may lose messages.

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

        def register(function: F) -> F:
            signature = read_signature(function, self._codec)
            if timeout is not None and signature.blocking:
                raise ConfigurationError(
                    f"handler {function_name(function)} is a plain def, whose thread cannot be cancelled: "
                    "leave out timeout=, or make it async def"
                )
            self._register(
                Handler(
                    function=function,
                    signature=signature,
                    source=wanted,
                    group=group,
                    retry=retry,
                    concurrency=concurrency,
                    ordered=ordered,
                    timeout=timeout,
                    at_most_once=delivery == "at-most-once",
                )
            )
            return function

        return register

    def listen(self, source: Channel[Any] | str, *, concurrency: int = 1) -> Callable[[F], F]:
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

    def include(self, router: Router) -> None:
        """Take over what `router` has registered so far. Raises as `handler` does, and takes none then."""
        before = list(self._handlers)
        try:
            for handler in router._handlers:
                self._register(handler)
        except ConfigurationError:
            self._handlers = before
            raise

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


def _check_concurrency(concurrency: int) -> None:
    if type(concurrency) is not int or concurrency < 1:
        raise ConfigurationError("concurrency is a whole number, at least 1")
