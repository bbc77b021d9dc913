"""A saboteur: what it breaks, and which promises have to notice."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from pabal.model.clock import Clock
from pabal.model.transport import Transport
from pabal.testing.promise import PROMISES
from pabal.testing.saboteurs.tampering import TamperedTransport
from pabal.testing.subject import Subject


@dataclasses.dataclass(frozen=True)
class Saboteur:
    """One way to break a transport.

    Attributes:
        name: how tests call it.
        text: what it does.
        caught_by: the promises that have to notice.
        tamper: what it puts before a transport.
    """

    name: str
    text: str
    caught_by: tuple[str, ...]
    tamper: Callable[[Transport, Clock, dict[str, Any]], Transport]


SABOTEURS: dict[str, Saboteur] = {}
"""Every saboteur by its name."""


def saboteur(*caught_by: str) -> Callable[[type[TamperedTransport]], type[TamperedTransport]]:
    """Make a class a saboteur: its docstring's first line says what it does."""

    def register(tamper: type[TamperedTransport]) -> type[TamperedTransport]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", tamper.__name__).lower()
        add(Saboteur(name, (tamper.__doc__ or "").partition("\n")[0], caught_by, tamper))
        return tamper

    return register


def add(made: Saboteur) -> None:
    """Register a saboteur; raises TypeError for a name that is taken and for promises that there are not."""
    unknown = [name for name in made.caught_by if name not in PROMISES]
    if made.name in SABOTEURS or unknown or not made.caught_by or not made.text:
        raise TypeError(f"saboteur {made.name} is there already, says nothing, or names no promise but {unknown}")
    SABOTEURS[made.name] = made


class Sabotaged:
    """A subject of whose transports each has something before it: a saboteur, or an honest wrapper."""

    def __init__(self, subject: Subject, tamper: Callable[[Transport, Clock, dict[str, Any]], Transport]) -> None:
        self.name = f"{subject.name} with {getattr(tamper, '__name__', tamper)}"
        self.clock = subject.clock
        self.patience = subject.patience
        self._subject = subject
        self._tamper = tamper
        self._shared: dict[str, Any] = {}

    async def connect(
        self, *, lease: float | None = None, max_body: int | None = None, overflow: int | None = None
    ) -> Transport:
        """The subject's next transport, behind its wrapper."""
        inner = await self._subject.connect(lease=lease, max_body=max_body, overflow=overflow)
        return self._tamper(inner, self.clock, self._shared)

    async def restart(self) -> None:
        """Restart the subject, and let the wrappers know."""
        await self._subject.restart()
        self._shared["restarted"] = True

    async def pass_time(self, seconds: float) -> None:
        """As the subject."""
        await self._subject.pass_time(seconds)
