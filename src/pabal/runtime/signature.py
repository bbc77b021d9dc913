"""A handler's signature, compiled once at registration into what a delivery calls."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from types import NoneType
from typing import Any, get_type_hints

import msgspec

from pabal.model.codec import Codec, Decode, compile_decoder
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.runtime.batch import item_type
from pabal.runtime.context import Bridge, Context
from pabal.runtime.parameters import CONTEXTS, Arguments, Parameter, arrange, read_parameter
from pabal.runtime.providing import Call, Given, Provider, entering

Function = Callable[..., Any]
Invoke = Callable[[Any, Context], Coroutine[Any, Any, Any]]

_NOTHING: Mapping[Any, Provider] = {}


class Signature(msgspec.Struct, frozen=True):
    """What a handler takes and gives.

    Attributes:
        decode: the body to the first parameter's type; None: that parameter takes the message itself.
        answers: whether its result answers a request.
        answers_none: whether a result of None is an answer too.
        blocking: a plain ``def``, to be run in a thread.
        further: the parameters after the first.
    """

    decode: Decode | None
    answers: bool
    answers_none: bool
    blocking: bool
    further: tuple[Parameter, ...] = ()


def read_signature(function: Function, codec: Codec, *, batch: bool = False) -> Signature:
    """Compile the signature of a handler, of batches or of single messages.

    Raises ConfigurationError with the form that is wanted.
    """
    name = function_name(function)
    plain = _without_partial(function)
    if inspect.isclass(plain):
        raise ConfigurationError(f"{name} is a class; a handler is a function, or an object that can be called")
    if inspect.isasyncgenfunction(plain) or inspect.isgeneratorfunction(plain):
        raise ConfigurationError(f"handler {name} is a generator; a handler is a def or async def that returns")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name} is no function, so it cannot be a handler") from None
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise ConfigurationError(f"handler {name} takes nothing; its first parameter takes the message's body")
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(f"handler {name}: parameter {parameter} is variadic; use plain parameters")
    hints = _hints(plain, name)
    first, *others = parameters
    body, returns = hints.get(first.name, Any), hints.get("return")
    return Signature(
        decode=_decoder(name, item_type(name, body) if batch else body, codec),
        answers=returns is not NoneType and not batch,  # a request has one message
        answers_none="return" in hints and returns is not NoneType,
        blocking=not is_async(plain),
        further=tuple(read_parameter(name, parameter, hints.get(parameter.name), batch=batch) for parameter in others),
    )


def function_name(function: Function) -> str:
    """How logs and errors call a handler."""
    plain = _without_partial(function)
    name: str = getattr(plain, "__qualname__", type(plain).__qualname__)
    return name.rpartition("<locals>.")[2]


def compile_invoke(
    function: Function,
    signature: Signature,
    executor: Executor | None,
    provided: Mapping[Any, Provider] = _NOTHING,
) -> Invoke:
    """The function ``(value, context) -> coroutine`` that calls the handler; a plain def runs on `executor`.

    Raises ConfigurationError for a parameter that nothing is there for.
    """
    arguments = arrange(function_name(function), signature.further, provided)
    if arguments.provided:
        call = _provided_call(function, arguments)
        providers = [provided[type] for type in arguments.provided]
        entered = entering(providers, _in_thread(call, executor) if signature.blocking else call)
        return lambda value, context: entered(value, context, ())
    placed = [type is Context for type in arguments.placed]
    named = [(name, type is Context) for name, type in arguments.named]

    def plain_call(value: Any, context: Context) -> Any:
        return function(
            value,
            *[context if wanted else context.message for wanted in placed],
            **{name: context if wanted else context.message for name, wanted in named},
        )

    if signature.blocking:
        return _in_thread(plain_call, executor)
    if not placed and not named:
        return lambda value, _: function(value)
    if placed == [True] and not named:
        return function
    return plain_call


def _provided_call(function: Function, arguments: Arguments) -> Call:
    """The call that takes from what was provided too."""
    places = {type: place for place, type in enumerate(arguments.provided)}

    def take(type: Any, context: Context, given: Given) -> Any:
        if type is Context:
            return context
        return context.message if type is Message else given[places[type]]

    def call(value: Any, context: Context, given: Given) -> Any:
        return function(
            value,
            *[take(type, context, given) for type in arguments.placed],
            **{name: take(type, context, given) for name, type in arguments.named},
        )

    return call


def _in_thread(call: Callable[..., Any], executor: Executor | None) -> Callable[..., Coroutine[Any, Any, Any]]:
    """`call`, which takes the body, the context and what else there is, on a thread."""

    def guarded(value: Any, context: Context, *given: Given) -> Any:
        try:
            result = call(value, context, *given)
        except StopIteration as error:  # no future can carry it
            raise RuntimeError("the handler raised StopIteration") from error
        if inspect.iscoroutine(result):
            result.close()
            raise ConfigurationError("a plain def handler returned a coroutine that nobody awaits; make it async def")
        return result

    async def in_thread(value: Any, context: Context, *given: Given) -> Any:
        loop = asyncio.get_running_loop()
        bridge = Bridge(loop)
        blocking = context.blocking(bridge)
        try:
            return await loop.run_in_executor(executor, copy_context().run, guarded, value, blocking, *given)
        except asyncio.CancelledError:
            bridge.end()
            raise

    return in_thread


def _without_partial(function: Function) -> Function:
    while isinstance(function, partial):
        function = function.func
    return function


def is_async(function: Function) -> bool:
    """Whether a call gives a coroutine: of the function itself, of what a decorator wraps, or of an object's call."""
    return (
        inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(inspect.unwrap(function))
        or (not inspect.isroutine(function) and inspect.iscoroutinefunction(type(function).__call__))
    )


def _hints(function: Function, name: str) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        return get_type_hints(target, localns=_locals_around(target), include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"handler {name}: its annotation names {error.name!r}, which is not known where it is registered"
        ) from error
    except (TypeError, AttributeError, SyntaxError) as error:
        raise ConfigurationError(f"handler {name}: its annotations cannot be read: {error}") from error


def _locals_around(function: Any) -> dict[str, Any]:
    """The names where the handler was written; types made in a function are there only.

    Written in none of the calling functions, it has its module's names, and then those where it is registered.
    """
    function = inspect.unwrap(function)
    code, own = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    known: dict[str, Any] | None = None
    frame = inspect.currentframe()
    while frame is not None:
        if code in frame.f_code.co_consts:
            return dict(frame.f_locals)
        if known is None and not frame.f_globals.get("__name__", "").startswith(
            ("pabal.runtime", "pabal.bus", "pabal.router")
        ):
            known = {name: value for name, value in frame.f_locals.items() if name not in own}
        frame = frame.f_back
    return known or {}


def _decoder(name: str, hint: Any, codec: Codec) -> Decode | None:
    if hint is Message:
        return None
    if hint in CONTEXTS:
        raise ConfigurationError(f"handler {name}: its first parameter takes the body; put the context second")
    try:
        return compile_decoder(codec, hint)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"handler {name}: bodies cannot be decoded to {getattr(hint, '__name__', hint)}: {error}"
        ) from error
