"""Giving handlers what they ask for beside the message: values, and contexts entered around each call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Annotated, Any, get_args, get_origin

import msgspec

from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.model.outcome import Reject, Retry
from pabal.runtime.context import Context
from pabal.runtime.decide import one_line
from pabal.runtime.parameters import CONTEXTS, type_name

Given = tuple[Any, ...]
"""What was provided for one call, in the order in which the handler asks for it."""

Call = Callable[[Any, Context, Given], Coroutine[Any, Any, Any]]


class Provider(msgspec.Struct, frozen=True):
    """Where values of a type come from: a value for all calls, or `make`, which is called for each.

    `enters` says of what `make` gives whether it is a context to be entered; None: seen from what it gives.
    """

    type: Any
    value: Any = None
    make: Callable[[], Any] | None = None
    enters: bool | None = None


def read_provider(type: Any, factory: Any) -> Provider:
    """The provider of a type; raises ConfigurationError for a factory that cannot be one."""
    if type in CONTEXTS or type is Message:
        raise ConfigurationError(f"{type_name(type)} is the delivery's own, it cannot be provided")
    own = _is_instance(factory, type)
    if own or not callable(factory):
        return Provider(type, value=factory)
    name = type_name(type)
    written = factory if inspect.isclass(factory) else inspect.unwrap(factory)
    _check_factory(name, factory, written)
    if inspect.isasyncgenfunction(written):
        return Provider(type, make=factory, enters=True)
    if own is None:
        raise ConfigurationError(
            f"whether something is a {name} cannot be seen from outside: give a value that cannot be called, or an "
            "@asynccontextmanager function"
        )
    return Provider(type, make=factory, enters=True if factory is type and _is_context(type) else None)


def _check_factory(name: str, factory: Any, written: Any) -> None:
    """Raise ConfigurationError for a factory that would give something else than it seems to."""
    if inspect.isasyncgenfunction(factory):
        raise ConfigurationError(f"the factory of {name} is an async generator: decorate it with @asynccontextmanager")
    if inspect.iscoroutinefunction(factory):
        raise ConfigurationError(
            f"the factory of {name} is a plain async def: make it an @asynccontextmanager that yields what it returns"
        )
    if inspect.isgeneratorfunction(written):
        raise ConfigurationError(f"the factory of {name} is not async: make it an @asynccontextmanager async def")
    try:
        signature = inspect.signature(factory)
    except ValueError:
        return  # a builtin that does not tell
    try:
        signature.bind()
    except TypeError:
        raise ConfigurationError(f"the factory of {name} takes arguments; it is called without any") from None


def entering(providers: list[Provider], call: Call) -> Call:
    """`call` with what `providers` make for it, entered before and exited with the call's outcome."""
    for provider in reversed(providers):
        call = partial(_enter, provider, call)
    return call


async def _enter(provider: Provider, call: Call, value: Any, context: Context, given: Given) -> Any:
    try:
        made = provider.make() if provider.make is not None else provider.value
        enters = provider.make is not None and _enters(provider, made)
    except Exception as error:
        raise _failed(provider, error) from error
    if not enters:
        return await call(value, context, (*given, made))
    async with _Entered(provider, made) as entered:
        return await call(value, context, (*given, entered))


class _Entered:
    """A context whose failure to begin is told from a failure within it."""

    __slots__ = ("_context", "_provider")

    def __init__(self, provider: Provider, context: AbstractAsyncContextManager[Any]) -> None:
        self._provider = provider
        self._context = context

    async def __aenter__(self) -> Any:
        try:
            return await self._context.__aenter__()
        except Exception as error:
            raise _failed(self._provider, error) from error

    async def __aexit__(
        self, type: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._context.__aexit__(type, raised, traceback)


def _failed(provider: Provider, error: Exception) -> Exception:
    """What stands in the record of the attempt; what says itself how the attempt ends stays as it is."""
    if isinstance(error, Retry | Reject):
        return error
    return RuntimeError(f"could not provide {type_name(provider.type)}: {one_line(error)}")


def _enters(provider: Provider, made: Any) -> bool:
    if provider.enters is not None:
        return provider.enters
    if not _is_context(type(made)):
        return False
    if _is_instance(made, provider.type):
        name = type_name(provider.type)
        raise ConfigurationError(
            f"the factory gave a {name} that is itself an async context manager, and whether it ends with the call "
            f"cannot be known: provide the {name} itself where all calls share it, or an @asynccontextmanager function"
        )
    return True


def _is_context(type: type[Any]) -> bool:
    return hasattr(type, "__aenter__") and hasattr(type, "__aexit__")


def _is_instance(value: Any, type: Any) -> bool | None:
    """Whether `value` is of `type`; None where a type cannot tell, as most protocols."""
    if get_origin(type) is Annotated:
        type = get_args(type)[0]
    try:
        return isinstance(value, get_origin(type) or type)
    except TypeError:
        return None
