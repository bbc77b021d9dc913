"""``nats://`` against nats-py with the same bytes, and against FastStream.

At most a thousand messages are on their way, since nobody keeps what comes faster than it is handled.
"""

from __future__ import annotations

from functools import partial

from benchmarks import peers, raw_nats, sides
from benchmarks.flow import Flow, live, publishing
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.serving import nats_sink, serving

_TOTAL = 40_000
_SINGLE = 5_000
_PEERS = 5_000
_FANNED = 4_000
_READERS = 10


def raw(stage: Stage) -> Figures:
    """nats-py."""
    flow = Flow(stage.count(_TOTAL), paced=True)
    with serving("nats") as server:
        return live("raw", server.url(), flow, raw_nats.publish, raw_nats.listen)


def pabal(stage: Stage) -> Figures:
    """pabal, a group."""
    flow, dead = Flow(stage.count(_TOTAL), paced=True), stage.url("dead")
    publish, handle = partial(sides.publish_many, dead=dead), partial(sides.handle, dead=dead)
    with serving("nats") as server:
        return live("pabal", server.url(), flow, publish, handle)


def faststream(stage: Stage) -> Figures:
    """FastStream."""
    flow = Flow(stage.count(_PEERS), paced=True)
    with serving("nats") as server:
        return live("FastStream", server.url(), flow, peers.nats_publish, peers.nats_handle)


def raw_to_ten(stage: Stage) -> Figures:
    """nats-py, ten readers of every message."""
    flow = Flow(stage.count(_FANNED), paced=True, copies=_READERS)
    with serving("nats") as server:
        return live("raw to ten", server.url(), flow, raw_nats.publish, partial(raw_nats.listen, listeners=_READERS))


def pabal_to_ten(stage: Stage) -> Figures:
    """pabal, ten listeners."""
    flow, dead = Flow(stage.count(_FANNED), paced=True, copies=_READERS), stage.url("dead")
    publish, listen = partial(sides.publish_many, dead=dead), partial(sides.listen, dead=dead, listeners=_READERS)
    with serving("nats") as server:
        return live("pabal to ten", server.url(), flow, publish, listen)


def raw_publishing(stage: Stage) -> Figures:
    """nats-py, publishing alone."""
    with serving("nats") as server, nats_sink(server):
        return {
            **publishing("raw", server.url(), Flow(stage.count(_TOTAL)), raw_nats.publish),
            **publishing("raw, each flushed", server.url(), Flow(stage.count(_SINGLE)), raw_nats.publish_each),
        }


def pabal_publishing(stage: Stage) -> Figures:
    """pabal, publishing alone."""
    dead = stage.url("dead")
    many, each = partial(sides.publish_many, dead=dead), partial(sides.publish, dead=dead)
    with serving("nats") as server, nats_sink(server):
        return {
            **publishing("pabal", server.url(), Flow(stage.count(_TOTAL)), many),
            **publishing("pabal, each awaited", server.url(), Flow(stage.count(_SINGLE)), each),
        }


WORKLOAD = Workload(
    name="nats",
    title="NATS: publishing, and publisher and readers together",
    parts=(raw, pabal, faststream, raw_to_ten, pabal_to_ten, raw_publishing, pabal_publishing),
    units={
        "raw, together": "messages/s",
        "pabal, together": "messages/s",
        "FastStream, together": "messages/s",
        "raw to ten, together": "messages/s",
        "pabal to ten, together": "messages/s",
        "raw, publish": "messages/s",
        "pabal, publish": "messages/s",
        "raw, each flushed, publish": "messages/s",
        "pabal, each awaited, publish": "messages/s",
        "CPU, raw, together": "µs a message",
        "CPU, pabal, together": "µs a message",
        "CPU, raw, publish": "µs a message",
        "CPU, pabal, publish": "µs a message",
    },
    targets=(
        Target(
            "publish_many of 100, over a hundred publishes and a flush",
            lambda figures: figures["pabal, publish"] / figures["raw, publish"],
            at_least=0.8,
        ),
        Target(
            "an awaited publish, over a publish and a flush",
            lambda figures: figures["pabal, each awaited, publish"] / figures["raw, each flushed, publish"],
            at_least=0.8,
        ),
        Target(
            "publisher and worker together, over nats-py's",
            lambda figures: figures["pabal, together"] / figures["raw, together"],
            at_least=0.75,
        ),
        Target(
            "publisher and ten listeners together, over nats-py's",
            lambda figures: figures["pabal to ten, together"] / figures["raw to ten, together"],
            at_least=0.75,
        ),
        Target(
            "publisher and worker together, over FastStream's",
            lambda figures: figures["pabal, together"] / figures["FastStream, together"],
            at_least=5,
        ),
        Target(
            "CPU of a handled message above nats-py's",
            lambda figures: figures["CPU, pabal, together"] - figures["CPU, raw, together"],
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
