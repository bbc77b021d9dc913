from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from pabal import BlockingContext, CodecError, ConfigurationError, Context, Message
from pabal.model.codec import JsonCodec
from pabal.model.transport import GroupId
from pabal.runtime.context import Bridge, Handling
from pabal.runtime.signature import Signature, compile_invoke, read_signature
from pabal.runtime.threads import Threads
from tests.unit.runtime import elsewhere
from tests.unit.runtime.values import message

if TYPE_CHECKING:
    from decimal import Decimal


class Item(msgspec.Struct):
    name: str


@dataclass
class Point:
    x: int


HANDLING = Handling("handler", GroupId("a", "g"), None, None)  # type: ignore[arg-type]  # it reaches for neither


def read(function: Callable[..., Any]) -> Signature:
    return read_signature(function, JsonCodec())


def decoded(function: Callable[..., Any], body: bytes, content_type: str | None = "application/json") -> Any:
    decode = read(function).decode
    assert decode is not None
    return decode(body, content_type)


async def call(function: Callable[..., Any], value: Any = "value") -> tuple[Any, Context]:
    context = Context(message(), 1, HANDLING)
    threads = Threads(1)
    try:
        return await compile_invoke(function, read(function), threads)(value, context), context
    finally:
        threads.shutdown()


# The body.


def test_body_types() -> None:
    """The first parameter's annotation is the body's type."""

    async def as_bytes(body: bytes) -> None: ...
    async def as_text(body: str) -> None: ...
    async def as_struct(body: Item) -> None: ...
    async def as_dataclass(body: Point) -> None: ...
    async def as_dict(body: dict) -> None: ...  # type: ignore[type-arg]
    async def as_list(body: list[Item]) -> None: ...
    async def as_union(body: int | None) -> None: ...

    assert decoded(as_bytes, b'{"a":1}') == b'{"a":1}'
    assert decoded(as_text, b'"x"') == '"x"'
    assert decoded(as_struct, b'{"name":"x"}') == Item("x")
    assert decoded(as_dataclass, b'{"x":1}') == Point(1)
    assert decoded(as_dict, b'{"a":1}') == {"a": 1}
    assert decoded(as_list, b'[{"name":"x"}]') == [Item("x")]
    assert decoded(as_union, b"null") is None
    with pytest.raises(CodecError):
        decoded(as_struct, b'{"name":1}')


@pytest.mark.parametrize(
    ("body", "content_type", "value"),
    [
        (b'{"a":1}', "application/json", {"a": 1}),
        (b"hello", "text/plain; charset=utf-8", "hello"),
        (b"\0", "application/octet-stream", b"\0"),
        (b"ping", None, b"ping"),
    ],
)
def test_without_annotation_the_content_type_decides(body: bytes, content_type: str | None, value: Any) -> None:
    """Without an annotation a body is JSON, text or bytes by its content type; `Any` is as no annotation."""

    async def plain(body) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - that is the case
    async def anything(body: Any) -> None: ...

    assert decoded(plain, body, content_type) == value
    assert decoded(anything, body, content_type) == value


def test_message_as_the_body() -> None:
    """A first parameter that is a Message takes the message, undecoded."""

    async def whole(message: Message) -> None: ...

    assert read(whole).decode is None


def test_constraints_are_checked() -> None:
    """The constraints of `Annotated` hold for bodies."""

    async def small(number: Annotated[int, msgspec.Meta(lt=10)]) -> None: ...

    assert decoded(small, b"9") == 9
    with pytest.raises(CodecError):
        decoded(small, b"10")


def test_local_types() -> None:
    """A type that is local to the registering function is found under `from __future__ import annotations`."""

    class Local(msgspec.Struct):
        a: int

    async def handler(body: Local) -> None: ...

    assert decoded(handler, b'{"a":1}') == Local(1)


def test_local_type_hides_the_module_s() -> None:
    """A handler means the names that are nearest to where it was written."""

    class Item(msgspec.Struct):
        local: int

    async def handler(body: Item) -> None: ...

    assert decoded(handler, b'{"local":1}') == Item(1)


def test_other_module_s_names_are_its_own() -> None:
    """A handler that was written elsewhere means that module's names, not those of who registers it."""
    assert decoded(elsewhere.handler, b'{"here":1}') == elsewhere.Item(1)


# The other parameters.


async def test_context_and_message_by_annotation() -> None:
    """Later parameters get the context or the message, in any order, optional ones too."""

    async def first(body: str, context: Context) -> Any:
        return body, context

    async def both(body: str, message: Message, context: Context) -> Any:
        return body, message, context

    async def optional(body: str, context: Context | None = None, note: Message | None = None) -> Any:
        return body, context, note

    for function in (first, both, optional):
        result, context = await call(function)
        given = {"first": (context,), "both": (context.message, context), "optional": (context, context.message)}
        assert result == ("value", *given[function.__name__])


async def test_defaults_stay() -> None:
    """A parameter with a default that is neither Context nor Message keeps its default, wherever it stands."""

    async def plain(body: str, limit=5, context: Context | None = None) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return limit, context

    async def typed(body: str, limit: int = 5, *, flag: bool = True, context: Context) -> Any:
        return limit, flag, context

    result, context = await call(plain)
    assert result == (5, context)
    result, context = await call(typed)
    assert result == (5, True, context)


async def test_keyword_only() -> None:
    """Keyword-only parameters are given by name."""

    async def handler(body: str, *, note: Message, context: Context) -> Any:
        return note, context

    result, context = await call(handler)
    assert result == (context.message, context)


async def test_plain_def_gets_a_blocking_context() -> None:
    """A plain def is called on a thread, with a context that blocks."""

    def handler(body: str, context: BlockingContext, message: Message) -> Any:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return type(context), context.message is message

    assert (await call(handler))[0] == (BlockingContext, True)


# What may be a handler.


class Counter:
    def __init__(self) -> None:
        self.count = 0

    async def method(self, item: Item, context: Context) -> tuple[Item, Any]:
        return item, context

    @staticmethod
    async def static(item: Item) -> Item:
        return item

    @classmethod
    async def of_class(cls, item: Item) -> Item:
        return item

    async def __call__(self, item: Item, context: Context) -> tuple[Item, Any]:
        return item, context


class Plain:
    def __call__(self, item: Item) -> Item:
        return item


async def with_store(store: dict[str, Item], item: Item, context: Context) -> tuple[Item, Any]:
    store[item.name] = item
    return item, context


async def with_keyword(item: Item, store: dict[str, Item], *, context: Context) -> tuple[Item, Any]:
    store[item.name] = item
    return item, context


@pytest.mark.parametrize(
    "function",
    [
        Counter().method,
        Counter(),
        functools.partial(with_store, {}),
        functools.partial(functools.partial(with_store), {}),
        functools.partial(with_keyword, store={}),
        functools.partial(Counter()),
    ],
    ids=["method", "object", "partial", "nested partial", "partial by keyword", "partial of object"],
)
async def test_async_callables(function: Callable[..., Any]) -> None:
    """Methods, objects and partials are handlers as functions are: their types are found and they are awaited."""
    assert read(function).blocking is False
    assert decoded(function, b'{"name":"x"}') == Item("x")
    item = Item("x")
    result, context = await call(function, item)
    assert result == (item, context)


@pytest.mark.parametrize("function", [Counter.static, Counter.of_class])
async def test_static_and_class_methods(function: Callable[..., Any]) -> None:
    """Static and class methods are handlers."""
    assert read(function).blocking is False
    assert (await call(function, Item("x")))[0] == Item("x")


async def test_plain_object() -> None:
    """An object with a plain call runs on a thread."""
    assert read(Plain()).blocking is True
    assert (await call(Plain(), Item("x")))[0] == Item("x")


async def test_builtin() -> None:
    """A builtin method is a handler."""
    got: list[Any] = []
    await call(got.append, 7)
    assert got == [7]


async def test_decorated() -> None:
    """A decorator with `functools.wraps` changes neither types nor how the handler is called."""

    def passing(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            return function(*args, **options)

        return wrapper

    def to_async(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any, **options: Any) -> Any:
            return function(*args, **options)

        return wrapper

    async def waits(item: Item, context: Context) -> Any:
        return item

    def blocks(item: Item, context: Context) -> Any:
        return item

    for function in (passing(waits), to_async(blocks)):
        assert read(function).blocking is False
        assert decoded(function, b'{"name":"x"}') == Item("x")
        assert (await call(function, Item("x")))[0] == Item("x")


# Answers.


def test_answers() -> None:
    """A result is an answer unless the annotation is None; None is one where another annotation allows it."""

    async def nothing_said(body: str): ...  # type: ignore[no-untyped-def]  # noqa: ANN202
    async def nothing(body: str) -> None: ...
    async def maybe(body: str) -> int | None: ...
    async def number(body: str) -> int:
        return 1

    answers = [(read(f).answers, read(f).answers_none) for f in (nothing_said, nothing, maybe, number)]
    assert answers == [(True, False), (False, False), (True, True), (True, True)]


# What is refused.


def no_parameters() -> None: ...
def only_context(context: Context) -> None: ...
def unknown_extra(body: str, other: int) -> None: ...
def bare_extra(body: str, other) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
def variadic(*args: str) -> None: ...
def options(body: str, **options: str) -> None: ...
def keyword_body(*, body: str) -> None: ...
def late_placed(body: str, limit: int = 5, context: Context | None = None, /) -> None: ...
def unknown_type(body: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def unknown_attribute(body: asyncio.NoSuchType) -> None: ...  # type: ignore[name-defined]
def unknown_result(body: str) -> Decimal: ...  # type: ignore[empty-body]
def not_decodable(body: asyncio.Lock) -> None: ...
def not_decodable_inside(body: list[asyncio.Lock]) -> None: ...
async def generator(body: str) -> AsyncIterator[str]:
    yield body


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_parameters, "takes nothing"),
        (only_context, "its first parameter takes the body"),
        (unknown_extra, r"parameter 'other' takes int, .*: provide it first, as in bus\.provide\(int, \.\.\.\)"),
        (bare_extra, "parameter 'other' must be annotated as Context or Message"),
        (variadic, "variadic"),
        (options, "variadic"),
        (keyword_body, "takes nothing"),
        (late_placed, "before those with a default"),
        (unknown_type, "names 'NoSuchType', which is not known where it is registered"),
        (unknown_attribute, "annotations cannot be read"),
        (unknown_result, "names 'Decimal'"),
        (not_decodable, "bodies cannot be decoded to Lock"),
        (not_decodable_inside, "bodies cannot be decoded"),
        (generator, "is a generator"),
        (Item, "is a class"),
        (functools.partial(Item), "is a class"),
        (7, "is no function"),
        (print, "variadic"),
    ],
    ids=[*(f"case {number}" for number in range(18))],
)
def test_bad_signatures(function: Any, text: str) -> None:
    """A signature that cannot be called is a ConfigurationError that says what is wrong, before anything runs."""
    with pytest.raises(ConfigurationError, match=text):
        compile_invoke(function, read(function), None)


async def test_lambda_that_makes_a_coroutine() -> None:
    """A plain def that returns a coroutine fails, where it would be done without having been done."""

    async def handler(body: str) -> None: ...

    with pytest.raises(ConfigurationError, match="nobody awaits"):
        await call(lambda body: handler(body))  # noqa: PLW0108 - that is the case


async def test_stop_iteration_in_a_thread() -> None:
    """A plain def that raises StopIteration fails as any other; no future could carry that."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        await call(lambda body: next(iter(())))


async def test_blocking_context_does_not_block_the_loop() -> None:
    """A blocking context used in the event loop is an error, where it would wait for itself."""
    context = Context(message(), 1, HANDLING)
    with pytest.raises(ConfigurationError, match="use async def"):
        BlockingContext(context, Bridge(asyncio.get_running_loop())).publish("a", 1)
