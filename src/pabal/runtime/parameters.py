"""What a handler's parameters after the first take."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterable, Mapping
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import msgspec

from pabal.model.errors import ConfigurationError
from pabal.model.message import Message
from pabal.runtime.batch import BatchContext, BlockingBatchContext, check_context
from pabal.runtime.context import BlockingContext, Context

CONTEXTS = (Context, BlockingContext, BatchContext, BlockingBatchContext)


class Parameter(msgspec.Struct, frozen=True):
    """A parameter after the first.

    Attributes:
        name: its name.
        kind: whether it is given by its place, by its name or either.
        hints: the types it may take, the most particular first; none: it has no annotation.
        optional: it has a default, which it keeps where there is nothing for it.
    """

    name: str
    kind: inspect._ParameterKind
    hints: tuple[Any, ...]
    optional: bool


class Arguments(msgspec.Struct, frozen=True):
    """What a call hands over after the body: types, of which `Context` and `Message` are the delivery's own."""

    placed: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()

    @property
    def provided(self) -> list[Any]:
        """The types that are not the delivery's own, each once."""
        wanted = (*self.placed, *(type for _, type in self.named))
        return list(dict.fromkeys(type for type in wanted if type is not Context and type is not Message))


def read_parameter(who: str, parameter: inspect.Parameter, hint: Any, *, batch: bool = False) -> Parameter:
    """A parameter with what its annotation allows; `hint` None: it has none, so it must have a default."""
    optional = parameter.default is not parameter.empty
    if hint is None and not optional:
        raise ConfigurationError(
            f"handler {who}: parameter {parameter.name!r} must be annotated as Context or Message, or with a type that "
            "is provided; the first parameter takes the body"
        )
    check_context(who, parameter.name, hint, batch=batch)
    return Parameter(parameter.name, parameter.kind, tuple(_alternatives(hint)), optional)


def arrange(who: str, parameters: Iterable[Parameter], provided: Mapping[Any, object]) -> Arguments:
    """What each parameter takes, where `provided` has the types that handlers may ask for.

    Raises ConfigurationError for one that nothing is there for.
    """
    placed: list[Any] = []
    named: list[tuple[str, Any]] = []
    gap = False
    for parameter in parameters:
        type = _find(parameter.hints, provided)
        if type is None:
            if not parameter.optional:
                raise ConfigurationError(_nothing_for(who, parameter))
            gap = True
        elif not gap and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            placed.append(type)
        elif parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigurationError(f"handler {who}: put parameter {parameter.name!r} before those with a default")
        else:
            named.append((parameter.name, type))
    return Arguments(tuple(placed), tuple(named))


def type_name(type: Any) -> str:
    """How errors call a type."""
    return getattr(type, "__name__", None) or str(type)


def _alternatives(hint: Any) -> Iterable[Any]:
    """The annotation itself, without its `Annotated`, and the types of its union where None is one of them."""
    if hint is None:
        return
    yield hint
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
        yield hint
    if NoneType in get_args(hint):
        yield from (type for type in get_args(hint) if type is not NoneType)


def _find(hints: Iterable[Any], provided: Mapping[Any, object]) -> Any:
    for hint in hints:
        if hint in CONTEXTS:
            return Context
        if hint is Message:
            return Message
        if isinstance(hint, Hashable) and hint in provided:
            return hint
    return None


def _nothing_for(who: str, parameter: Parameter) -> str:
    wanted = type_name(parameter.hints[0])
    return (
        f"handler {who}: parameter {parameter.name!r} takes {wanted}, and nothing gives it one: provide it first, as "
        f"in bus.provide({wanted}, ...), or annotate it as Context or Message; the first parameter takes the body"
    )
