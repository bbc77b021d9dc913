"""A promise: one thing that every transport keeps, or says beforehand that it does not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from enum import Enum

from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.errors import PabalError
from pabal.testing.broken import PromiseBroken
from pabal.testing.stage import Stage
from pabal.testing.subject import Subject

DEADLINE = 120.0
"""Seconds of real time that one promise may take in all; each single wait is bounded by the subject's patience."""


@dataclasses.dataclass(frozen=True)
class Need:
    """What a transport must have declared for a promise to be asked of it."""

    text: str
    met: Callable[[Capabilities], bool]
    fields: tuple[str, ...]


def has(*fields: str) -> tuple[Need, ...]:
    """Each of these fields of Capabilities is declared: True, or not NONE, or a number."""
    return tuple(Need(f"{field} declared", _declares(field), (field,)) for field in fields)


def lacks(*fields: str) -> tuple[Need, ...]:
    """None of these fields of Capabilities is declared."""

    def absent(field: str) -> Callable[[Capabilities], bool]:
        declared = _declares(field)
        return lambda capabilities: not declared(capabilities)

    return tuple(Need(f"{field} not declared", absent(field), (field,)) for field in fields)


SETTLES_EACH = (
    Need("settles declared as EACH", lambda capabilities: capabilities.settles is Settles.EACH, ("settles",)),
)
ORDER_BY_KEY = (Need("order declared as KEY", lambda capabilities: capabilities.order is Order.KEY, ("order",)),)
ORDER_BY_CHANNEL = (
    Need("order declared as CHANNEL", lambda capabilities: capabilities.order is Order.CHANNEL, ("order",)),
)


def _declares(field: str) -> Callable[[Capabilities], bool]:
    if field not in Capabilities.__struct_fields__:
        raise AttributeError(f"Capabilities has no field {field!r}")

    def declared(capabilities: Capabilities) -> bool:
        value = getattr(capabilities, field)
        return value.value != "none" if isinstance(value, Enum) else bool(value)

    return declared


@dataclasses.dataclass(frozen=True)
class Promise:
    """One promise: its name, its sentence, its topic, what it needs, and the check itself."""

    name: str
    text: str
    topic: str
    needs: tuple[Need, ...]
    body: Callable[[Stage], Awaitable[None]]

    def unmet(self, capabilities: Capabilities) -> str | None:
        """Why this promise is not asked of a transport with `capabilities`; None: it is."""
        missing = [need for need in self.needs if not need.met(capabilities)]
        if not missing:
            return None
        needed = ", ".join(need.text for need in missing)
        declared = ", ".join(f"{f}={getattr(capabilities, f)}" for f in sorted({f for n in missing for f in n.fields}))
        return f"needs {needed}; the transport declares {declared}"

    async def check(self, subject: Subject) -> None:
        """Hold `subject` to this promise; raises PromiseBroken with what was expected and what came."""
        deadline = asyncio.timeout(DEADLINE)
        try:
            async with deadline, Stage(subject) as stage:
                await self.body(stage)
        except (PromiseBroken, PabalError, ExceptionGroup) as error:
            broken = _broken(error)
            if broken is None:
                raise
            raise PromiseBroken(f"{subject.name} breaks {self.name}: {self.text} {broken}") from error
        except TimeoutError:
            if not deadline.expired():
                raise
            raise PromiseBroken(
                f"{subject.name} breaks {self.name}: {self.text} Expected the check to end within {DEADLINE:g} s; "
                "it hung."
            ) from None


def _broken(error: Exception) -> PromiseBroken | None:
    """`error` as a broken promise; it may come out of a task group. None: something else went wrong."""
    if isinstance(error, ExceptionGroup):
        found = map(_broken, error.exceptions)
        return next((each for each in found if each is not None), None)
    if isinstance(error, PabalError):
        return PromiseBroken(f"Expected no error, got {type(error).__name__}: {error}.")
    return error if isinstance(error, PromiseBroken) else None


PROMISES: dict[str, Promise] = {}
"""Every promise by its name, in the order of the files."""


def promise(*needs: tuple[Need, ...]) -> Callable[[Callable[[Stage], Awaitable[None]]], Promise]:
    """Make an async function a promise: its name is the promise's, its docstring's first line the sentence."""

    def register(body: Callable[[Stage], Awaitable[None]]) -> Promise:
        name = getattr(body, "__name__")  # noqa: B009 - a Callable need not have one for the type checker
        topic = body.__module__.rpartition(".")[2]
        text = (body.__doc__ or "").partition("\n")[0].strip()
        if not text:
            raise TypeError(f"the promise {name} has no docstring: its first line is what is promised")
        if name in PROMISES:
            raise TypeError(f"there are two promises called {name}")
        made = Promise(name, text, topic, tuple(need for group in needs for need in group), body)
        PROMISES[name] = made
        return made

    return register


def promises(capabilities: Capabilities) -> list[Promise]:
    """The promises that a transport with `capabilities` has to keep."""
    return [each for each in PROMISES.values() if each.unmet(capabilities) is None]


def not_asked(capabilities: Capabilities) -> dict[str, str]:
    """The promises that are not asked of a transport with `capabilities`, by name, each with the reason."""
    reasons = {name: each.unmet(capabilities) for name, each in PROMISES.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}
