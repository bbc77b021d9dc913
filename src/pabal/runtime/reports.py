"""What was done and what was left behind."""

from __future__ import annotations

import msgspec


class Counters(msgspec.Struct):
    """What one handler or listener has done since it started.

    `failed` counts calls that failed, undecodable bodies among them; the others count deliveries by how they were
    settled: `lost` ones belonged to somebody else by then, `unknown` ones got no answer and may come again.
    """

    acked: int = 0
    retried: int = 0
    rejected: int = 0
    released: int = 0
    failed: int = 0
    lost: int = 0
    unknown: int = 0


class Unfinished(msgspec.Struct, frozen=True):
    """A message whose handler had not ended when the grace was over."""

    handler: str
    channel: str
    message_id: str
    seconds: float


class DrainReport(msgspec.Struct, frozen=True):
    """What a drain did: the counts of each handler, and the messages whose handlers did not end in time."""

    seconds: float
    handlers: dict[str, Counters]
    unfinished: tuple[Unfinished, ...] = ()

    @property
    def counts(self) -> str:
        """What was handled, given back and left unfinished, in words."""
        acked = sum(c.acked for c in self.handlers.values())
        released = sum(c.released for c in self.handlers.values())
        return f"{acked} handled, {released} given back, {len(self.unfinished)} unfinished"

    def __str__(self) -> str:
        lines = [f"drained in {self.seconds:.1f} s: {self.counts}"]
        lines += [
            f"  unfinished after {u.seconds:.1f} s in {u.handler}: {u.message_id} on {u.channel}"
            for u in self.unfinished
        ]
        return "\n".join(lines)
