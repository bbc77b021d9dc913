"""A registered handler or listener, as its worker needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pabal.model.channel import Channel
from pabal.model.transport import OnDead, Start
from pabal.runtime.batch import Batch
from pabal.runtime.middleware import AroundHandling, AroundPublishing
from pabal.runtime.plan import Needs
from pabal.runtime.providing import Provider
from pabal.runtime.retry import Backoff
from pabal.runtime.signature import Function, Signature, function_name


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """What to call for the messages of a source, and how. `group` None is a listener.

    `retry` None follows the bus; `timeout` is seconds a call may take, None: as long as it likes. `provided` has what
    its parameters may ask for; `publishes` is where its results go; `around` is the middleware of its calls, and
    `around_publishing` that of what it publishes before the bus's own.
    """

    function: Function
    signature: Signature
    source: str
    group: str | None
    retry: Backoff | None = None
    concurrency: int = 1
    batch: Batch | None = None
    ordered: bool = False
    on_dead: OnDead = "park"
    timeout: float | None = None
    at_most_once: bool = False
    start: Start | None = None
    provided: Mapping[Any, Provider] = {}
    publishes: Channel[Any] | str | None = None
    around: tuple[AroundHandling, ...] = ()
    around_publishing: tuple[AroundPublishing, ...] = ()

    @property
    def name(self) -> str:
        """How logs and reports call it."""
        return f"{function_name(self.function)} ({self.source}{' @ ' + self.group if self.group is not None else ''})"

    @property
    def needs(self) -> Needs:
        """What it asks of its transport."""
        return Needs(
            who=self.name,
            source=self.source,
            group=self.group,
            retry=self.retry,
            ordered=self.ordered,
            parks_keys=self.on_dead == "park",
            at_most_once=self.at_most_once,
            start=self.start is not None,
        )
