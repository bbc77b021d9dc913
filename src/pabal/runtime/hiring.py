"""From registered handlers to a crew that is ready to start."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack

from pabal.model.clock import Clock
from pabal.model.transport import Source
from pabal.runtime.connection import Connection
from pabal.runtime.crew import Crew
from pabal.runtime.handler import Handler
from pabal.runtime.plan import refuse
from pabal.runtime.retry import Backoff
from pabal.runtime.threads import Threads
from pabal.runtime.worker import appetite

DEFAULT_WINDOW = 100


async def hire(
    connection: Connection,
    handlers: Collection[Handler],
    *,
    retry: Backoff,
    grace: float,
    clock: Clock,
    stack: AsyncExitStack,
) -> Crew:
    """Subscribe every handler and give each its worker; leaving `stack` drains them.

    Raises CapabilityError before anything is subscribed when the transport cannot keep what a handler needs.
    """
    refuse(connection.plan([handler.needs for handler in handlers]))
    executor = Threads(sum(handler.concurrency for handler in handlers if handler.signature.blocking))
    stack.callback(executor.shutdown)
    crew = Crew(grace, clock=clock)
    stack.push_async_callback(crew.drain)
    for handler in handlers:
        source = Source(
            handler.source,
            handler.group,
            ordered=handler.ordered,
            on_dead=handler.on_dead,
            start=handler.start,
            window=max(DEFAULT_WINDOW, 2 * appetite(handler)),
        )
        crew.add(await connection.work(handler, source, retry=handler.retry or retry, executor=executor))
    return crew
