"""What registers a function, as type checkers see it: the body's type is the channel's.

At run time each of these is the plain decorator of `Router`; only type checkers tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypedDict, TypeVar, overload

from pabal.model.message import Message
from pabal.model.transport import OnDead, Start
from pabal.runtime.retry import Backoff

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")
Raw = TypeVar("Raw", Message, bytes)
"""What any body can be taken as."""

Delivered = Literal["at-least-once", "at-most-once"]


class HandlerOptions(TypedDict, total=False):
    """The options of `Router.handler` that do not change what the function takes or returns."""

    retry: Backoff | None
    concurrency: int
    ordered: bool
    on_dead: OnDead
    timeout: float | None
    delivery: Delivered
    start: Start | None


class Registers(Protocol[T]):
    """Registers a function whose first parameter takes `T`, or the message or the body as it is."""

    @overload
    def __call__(self, function: Callable[Concatenate[T, P], R], /) -> Callable[Concatenate[T, P], R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Raw, P], R], /) -> Callable[Concatenate[Raw, P], R]: ...


class RegistersBatches(Protocol[T]):
    """Registers a function whose first parameter takes a list of `T`, or of the messages or bodies as they are."""

    @overload
    def __call__(self, function: Callable[Concatenate[list[T], P], R], /) -> Callable[Concatenate[list[T], P], R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[list[Raw], P], R], /
    ) -> Callable[Concatenate[list[Raw], P], R]: ...


class RegistersPublishing(Protocol[T, U]):
    """Registers as `Registers` does, a function whose result is a `U`, or None."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[T, P], Coroutine[Any, Any, U | None]], /
    ) -> Callable[Concatenate[T, P], Coroutine[Any, Any, U | None]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # only where U is a coroutine, which no message is
        self, function: Callable[Concatenate[Raw, P], Coroutine[Any, Any, U | None]], /
    ) -> Callable[Concatenate[Raw, P], Coroutine[Any, Any, U | None]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[T, P], U | None], /) -> Callable[Concatenate[T, P], U | None]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Raw, P], U | None], /
    ) -> Callable[Concatenate[Raw, P], U | None]: ...
