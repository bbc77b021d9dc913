"""``redis+pubsub://``, publisher and reader at once, against redis-py with the same bytes, and against FastStream.

At most a thousand messages are on their way, since nobody keeps what comes faster than it is handled.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from benchmarks import peers, raw_redis, sides
from benchmarks.flow import Flow, Used, live, publishing
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.serving import redis_sink, serving

_TOTAL = 40_000
_PEERS = 5_000


def raw(stage: Stage) -> Figures:
    """redis-py."""
    flow = Flow(stage.count(_TOTAL), paced=True)
    with serving("redis") as server:
        return live("raw", server.url(), flow, raw_redis.publish, raw_redis.listen)


def listener(stage: Stage) -> Figures:
    """pabal, a listener."""
    return _pabal(stage, "listener", sides.listen)


def group(stage: Stage) -> Figures:
    """pabal, a group of one member, who need not claim anything."""
    return _pabal(stage, "group of one", sides.handle)


def claiming_group(stage: Stage) -> Figures:
    """pabal, a group of two members in one process, who claim every message."""
    return _pabal(stage, "group of two", partial(sides.handle, members=2))


def _pabal(stage: Stage, name: str, handle: Callable[..., Coroutine[Any, Any, Used]]) -> Figures:
    flow, dead = Flow(stage.count(_TOTAL), paced=True), stage.url("dead")
    with serving("redis") as server:
        publish, handles = partial(sides.publish_many, dead=dead), partial(handle, dead=dead)
        return live(name, server.url("redis+pubsub"), flow, publish, handles)


def faststream(stage: Stage) -> Figures:
    """FastStream."""
    flow = Flow(stage.count(_PEERS), paced=True)
    with serving("redis") as server:
        return live("FastStream", server.url(), flow, peers.redis_publish, peers.redis_handle)


def raw_publishing(stage: Stage) -> Figures:
    """redis-py, publishing alone."""
    with serving("redis") as server, redis_sink(server):
        return publishing("raw", server.url(), Flow(stage.count(_TOTAL)), raw_redis.publish)


def pabal_publishing(stage: Stage) -> Figures:
    """pabal, publishing alone."""
    publish = partial(sides.publish_many, dead=stage.url("dead"))
    with serving("redis") as server, redis_sink(server):
        return publishing("pabal", server.url("redis+pubsub"), Flow(stage.count(_TOTAL)), publish)


WORKLOAD = Workload(
    name="redis-pubsub",
    title="Redis Pub/Sub: publisher and reader together",
    parts=(raw, listener, group, claiming_group, faststream, raw_publishing, pabal_publishing),
    units={
        "raw, together": "messages/s",
        "listener, together": "messages/s",
        "group of one, together": "messages/s",
        "group of two, together": "messages/s",
        "FastStream, together": "messages/s",
        "raw, publish": "messages/s",
        "pabal, publish": "messages/s",
        "CPU, raw, together": "µs a message",
        "CPU, listener, together": "µs a message",
        "CPU, group of one, together": "µs a message",
        "CPU, group of two, together": "µs a message",
        "CPU, raw, publish": "µs a message",
        "CPU, pabal, publish": "µs a message",
    },
    targets=(
        Target(
            "publisher and listener together, over redis-py's",
            lambda figures: figures["listener, together"] / figures["raw, together"],
            at_least=0.8,
        ),
        Target(
            "publisher and listener together, over FastStream's",
            lambda figures: figures["listener, together"] / figures["FastStream, together"],
            at_least=7,
        ),
        Target(
            "publisher and a group of one together, over redis-py's",
            lambda figures: figures["group of one, together"] / figures["raw, together"],
            at_least=0.5,
        ),
        Target(
            "publisher and a group of two together, with their claims, over redis-py's",
            lambda figures: figures["group of two, together"] / figures["raw, together"],
            at_least=0.5,
        ),
        Target(
            "CPU of a message at a listener above redis-py's",
            lambda figures: figures["CPU, listener, together"] - figures["CPU, raw, together"],
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
