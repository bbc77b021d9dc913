"""A handler's signature, compiled once at registration into what a delivery calls."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any, get_type_hints

import msgspec

from pabal.model.codec import Codec, Decode, compile_decoder
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.runtime.context import BlockingContext, Context

Function = Callable[..., Any]
Invoke = Callable[[Any, Context], Coroutine[Any, Any, Any]]

_CONTEXTS = (Context, BlockingContext)


class Signature(msgspec.Struct, frozen=True):
    """What a handler takes and gives.

    Attributes:
        decode: the body to the first parameter's type; None: that parameter takes the message itself.
        answers: whether its result answers a request.
        answers_none: whether a result of None is an answer too.
        blocking: a plain ``def``, to be run in a thread.
        extra: for each further parameter, whether it takes the context (else the message).
    """

    decode: Decode | None
    answers: bool
    answers_none: bool
    blocking: bool
    extra: tuple[bool, ...]


def read_signature(function: Function, codec: Codec) -> Signature:
    """Compile the signature of a handler; raises ConfigurationError with the form that is wanted."""
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigurationError(f"handler {name} is a generator; a handler is a def or async def that returns")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name} is no function, so it cannot be a handler") from None
    hints = _hints(function, name)
    if not parameters:
        raise ConfigurationError(f"handler {name} takes nothing; its first parameter takes the message's body")
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise ConfigurationError(
                f"handler {name}: parameter {parameter.name!r} is keyword-only or variadic; use plain parameters"
            )
    first, *others = parameters
    extra = tuple(_takes_context(name, p, hints) for p in others if p.default is p.empty or p.name in hints)
    if "return" in hints:
        returns = hints["return"]
        answers, answers_none = returns is not type(None), returns is not type(None)
    else:
        answers, answers_none = True, False
    return Signature(
        decode=_decoder(name, hints.get(first.name, Any), codec),
        answers=answers,
        answers_none=answers_none,
        blocking=not inspect.iscoroutinefunction(inspect.unwrap(function)) and not _has_async_call(function),
        extra=extra,
    )


def compile_invoke(function: Function, signature: Signature, executor: Executor | None) -> Invoke:
    """The function ``(value, context) -> coroutine`` that calls the handler; a plain def runs on `executor`."""
    extra = signature.extra
    if not signature.blocking:
        if not extra:
            return lambda value, _: function(value)
        if extra == (True,):
            return function
        return lambda value, context: function(value, *[context if wanted else context.message for wanted in extra])

    async def in_thread(value: Any, context: Context) -> Any:
        loop = asyncio.get_running_loop()
        blocking = BlockingContext(context, loop)
        arguments = [blocking if wanted else context.message for wanted in extra]
        return await loop.run_in_executor(executor, copy_context().run, function, value, *arguments)

    return in_thread


def _hints(function: Function, name: str) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        return get_type_hints(target, localns=_locals_of_caller())
    except NameError as error:
        raise ConfigurationError(
            f"handler {name}: its annotation names {error.name!r}, which is not known where it is registered"
        ) from error
    except TypeError as error:
        raise ConfigurationError(f"handler {name}: its annotations cannot be read: {error}") from error


def _locals_of_caller() -> dict[str, Any]:
    """The names where the handler is registered; types made in a function are there only."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("pabal.runtime", "pabal.bus")):
        frame = frame.f_back
    return dict(frame.f_locals) if frame is not None else {}


def _takes_context(name: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    if hint in _CONTEXTS:
        return True
    if hint is Message:
        return False
    raise ConfigurationError(
        f"handler {name}: parameter {parameter.name!r} must be annotated as Context or Message; "
        "the first parameter takes the body"
    )


def _decoder(name: str, hint: Any, codec: Codec) -> Decode | None:
    if hint is Message:
        return None
    if hint in _CONTEXTS:
        raise ConfigurationError(f"handler {name}: its first parameter takes the body; put the context second")
    try:
        return compile_decoder(codec, hint)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"handler {name}: bodies cannot be decoded to {getattr(hint, '__name__', hint)}: {error}"
        ) from error


def _has_async_call(function: Function) -> bool:
    return not inspect.isroutine(function) and inspect.iscoroutinefunction(type(function).__call__)
