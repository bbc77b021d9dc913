"""``jetstream://`` against nats-py with the same bytes: publishing, and consuming a backlog."""

from __future__ import annotations

from benchmarks import raw_nats, sides
from benchmarks.flow import Flow, consuming, publishing
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.serving import serving

_TOTAL = 30_000


def raw(stage: Stage) -> Figures:
    """nats-py: publishing, consuming by fetch, and once more by push."""
    total = stage.count(_TOTAL)
    with serving("nats") as server:
        return {
            **publishing("raw", server.url(), Flow(total), raw_nats.store),
            **consuming("raw fetch", server.url(), Flow(total), raw_nats.fetch),
            **consuming("raw push", server.url(), Flow(total), raw_nats.push),
        }


def pabal(stage: Stage) -> Figures:
    """pabal: publishing, and consuming."""
    total = stage.count(_TOTAL)
    with serving("nats") as server:
        url = server.url("jetstream")
        return {
            **publishing("pabal", url, Flow(total), sides.publish_many),
            **consuming("pabal", url, Flow(total), sides.drain),
        }


WORKLOAD = Workload(
    name="jetstream",
    title="JetStream: publishing, and a backlog consumed",
    parts=(raw, pabal),
    units={
        "raw fetch, consume": "messages/s",
        "raw push, consume": "messages/s",
        "pabal, consume": "messages/s",
        "raw, publish": "messages/s",
        "pabal, publish": "messages/s",
        "CPU, raw fetch, consume": "µs a message",
        "CPU, raw push, consume": "µs a message",
        "CPU, pabal, consume": "µs a message",
        "CPU, raw, publish": "µs a message",
        "CPU, pabal, publish": "µs a message",
    },
    targets=(
        Target(
            "consume, over fetch(100) and an acknowledgement each",
            lambda figures: figures["pabal, consume"] / figures["raw fetch, consume"],
            at_least=2,
        ),
        Target(
            "consume, over push and an acknowledgement each",
            lambda figures: figures["pabal, consume"] / figures["raw push, consume"],
            at_least=0.6,
        ),
        Target(
            "publish_many of 100, over a hundred publish_async",
            lambda figures: figures["pabal, publish"] / figures["raw, publish"],
            at_least=1,
        ),
        Target(
            "CPU of a consumed message above fetch and an acknowledgement",
            lambda figures: figures["CPU, pabal, consume"] - figures["CPU, raw fetch, consume"],
            at_most=5,
            unit="µs",
        ),
        Target(
            "CPU of a publish above nats-py's",
            lambda figures: figures["CPU, pabal, publish"] - figures["CPU, raw, publish"],
            at_most=2,
            unit="µs",
        ),
    ),
)
