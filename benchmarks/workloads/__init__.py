"""The workloads, one a module, in the order in which they run."""

from __future__ import annotations

from benchmarks.measure import Workload
from benchmarks.workloads import (
    idle,
    jetstream,
    large_backlog,
    latency,
    memory,
    memory_cpu,
    nats_core,
    redis_pubsub,
    redis_streams,
    requests,
    sqlite_drain,
    sqlite_live,
    sqlite_publish,
)

WORKLOADS: tuple[Workload, ...] = (
    memory.WORKLOAD,
    memory_cpu.WORKLOAD,
    sqlite_live.WORKLOAD,
    sqlite_drain.WORKLOAD,
    sqlite_publish.WORKLOAD,
    latency.WORKLOAD,
    idle.WORKLOAD,
    large_backlog.WORKLOAD,
    redis_streams.WORKLOAD,
    redis_pubsub.WORKLOAD,
    nats_core.WORKLOAD,
    jetstream.WORKLOAD,
    requests.WORKLOAD,
)
