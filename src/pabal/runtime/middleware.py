"""Middleware: functions of the user's around handling, and around publishing."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeAlias

from pabal.model.channel import Channel
from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.model.transport import Receipt
from pabal.runtime.context import Context
from pabal.runtime.signature import Invoke, function_name, is_async

AroundHandling: TypeAlias = Callable[[Context, Callable[[], Awaitable[Any]]], Coroutine[Any, Any, Any]]
"""``async def m(context, call_next)``: `call_next` returns the handler's result or raises what it raised."""

Send: TypeAlias = Callable[[Message], Awaitable[Receipt]]

AroundPublishing: TypeAlias = Callable[[Message, Send], Coroutine[Any, Any, Receipt]]
"""``async def m(message, call_next)``: `call_next` publishes the message that it is given."""


def check_middleware(function: Any, parameters: str) -> None:
    """Raise ConfigurationError for what cannot be called as middleware."""
    name = function_name(function)
    if not callable(function) or not is_async(function):
        raise ConfigurationError(f"middleware {name} is no async def; write async def {name}({parameters})")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise ConfigurationError(f"middleware {name} is called as {name}({parameters})") from None


def around_handling(middleware: Iterable[AroundHandling], invoke: Invoke) -> Invoke:
    """`invoke` within middleware, the first outermost."""
    for one in reversed(tuple(middleware)):
        invoke = partial(_handle, one, invoke)
    return invoke


def _handle(middleware: AroundHandling, invoke: Invoke, value: Any, context: Context) -> Coroutine[Any, Any, Any]:
    return middleware(context, partial(invoke, value, context))


def around_publishing(middleware: Iterable[AroundPublishing], send: Send) -> Send:
    """`send` within middleware, the first outermost."""
    for one in reversed(tuple(middleware)):
        send = partial(_publish, one, send)
    return send


async def _publish(middleware: AroundPublishing, send: Send, message: Message) -> Receipt:
    receipt = await middleware(message, send)
    if not isinstance(receipt, Receipt):
        raise ConfigurationError(
            f"middleware {function_name(middleware)} returned a {type(receipt).__name__}; "
            "it returns the receipt, as in: return await call_next(message)"
        )
    return receipt


def publishing_results(channel: Channel[Any] | str) -> AroundHandling:
    """Middleware that publishes what the handler returns, unless that is None."""

    async def publish_result(context: Context, call_next: Callable[[], Awaitable[Any]]) -> Any:
        result = await call_next()
        if result is not None:
            await context.publish(channel, result)
        return result

    return publish_result
