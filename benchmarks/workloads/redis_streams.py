"""``redis+streams://`` against redis-py with the same bytes, and against FastStream's handler of single messages."""

from __future__ import annotations

from benchmarks import peers, raw_redis, sides
from benchmarks.flow import Flow, consuming, live, publishing
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.serving import serving

_TOTAL = 40_000
_PEERS = 5_000


def raw(stage: Stage) -> Figures:
    """redis-py, publishing and then consuming."""
    total = stage.count(_TOTAL)
    with serving("redis") as server:
        return {
            **publishing("raw", server.url(), Flow(total), raw_redis.add),
            **consuming("raw", server.url(), Flow(total), raw_redis.read_group),
        }


def pabal(stage: Stage) -> Figures:
    """pabal, publishing and then consuming."""
    total = stage.count(_TOTAL)
    with serving("redis") as server:
        url = server.url("redis+streams")
        return {
            **publishing("pabal", url, Flow(total), sides.publish_many),
            **consuming("pabal", url, Flow(total), sides.drain),
        }


def faststream(stage: Stage) -> Figures:
    """FastStream, consuming what it published."""
    total = stage.count(_PEERS)
    with serving("redis") as server:
        publishing("FastStream", server.url(), Flow(total), peers.redis_stream_publish)
        return consuming("FastStream", server.url(), Flow(total), peers.redis_stream_drain)


def raw_together(stage: Stage) -> Figures:
    """redis-py, publisher and worker at once."""
    with serving("redis") as server:
        return live("raw", server.url(), Flow(stage.count(_TOTAL)), raw_redis.add, raw_redis.read_group)


def pabal_together(stage: Stage) -> Figures:
    """pabal, publisher and worker at once."""
    with serving("redis") as server:
        url = server.url("redis+streams")
        return live("pabal", url, Flow(stage.count(_TOTAL)), sides.publish_many, sides.handle)


WORKLOAD = Workload(
    name="redis-streams",
    title="Redis Streams: a backlog consumed, and publisher and worker together",
    parts=(raw, pabal, faststream, raw_together, pabal_together),
    units={
        "raw, consume": "messages/s",
        "pabal, consume": "messages/s",
        "FastStream, consume": "messages/s",
        "raw, together": "messages/s",
        "pabal, together": "messages/s",
        "raw, publish": "messages/s",
        "pabal, publish": "messages/s",
        "CPU, raw, consume": "µs a message",
        "CPU, pabal, consume": "µs a message",
        "CPU, raw, publish": "µs a message",
        "CPU, pabal, publish": "µs a message",
    },
    targets=(
        Target(
            "consume, over XREADGROUP 100 and one XACK",
            lambda figures: figures["pabal, consume"] / figures["raw, consume"],
            at_least=0.7,
        ),
        Target(
            "publisher and worker together, over redis-py's",
            lambda figures: figures["pabal, together"] / figures["raw, together"],
            at_least=0.9,
        ),
        Target(
            "consume, over FastStream's handler of single messages",
            lambda figures: figures["pabal, consume"] / figures["FastStream, consume"],
            at_least=6,
        ),
        Target(
            "CPU of a consumed message above redis-py's",
            lambda figures: figures["CPU, pabal, consume"] - figures["CPU, raw, consume"],
            at_most=5,
            unit="µs",
        ),
        Target(
            "CPU of a publish above redis-py's",
            lambda figures: figures["CPU, pabal, publish"] - figures["CPU, raw, publish"],
            at_most=2,
            unit="µs",
        ),
    ),
)
