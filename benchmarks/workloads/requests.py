"""Requests and their answers between two processes: one after the other, and 64 in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from statistics import median
from typing import Any

from benchmarks import raw_requests
from benchmarks.load import BATCH, CHANNEL, GROUP, ORDERS, Order
from benchmarks.measure import Figures, Stage, Target, Workload
from benchmarks.process import Ready, together
from benchmarks.raw_requests import Ask
from benchmarks.serving import serving
from pabal import Bus

_SINGLE = 2_500
_MANY = 20_000
_WARM = 100
_IN_FLIGHT = 64

Asks = Callable[[str], AbstractAsyncContextManager[Ask]]
Answers = Callable[[str, Ready], Coroutine[Any, Any, None]]


def raw_nats(stage: Stage) -> Figures:
    """nats-py's own request."""
    return _measured(stage, "NATS, raw", "nats", "nats", raw_requests.ask_nats, raw_requests.answer_nats)


def pabal_nats(stage: Stage) -> Figures:
    """Pabal on NATS."""
    return _measured(stage, "NATS, pabal", "nats", "nats", _ask, _answer)


def raw_redis(stage: Stage) -> Figures:
    """redis-py."""
    return _measured(stage, "Redis, raw", "redis", "redis", raw_requests.ask_redis, raw_requests.answer_redis)


def pabal_redis(stage: Stage) -> Figures:
    """Pabal on Redis Pub/Sub."""
    return _measured(stage, "Redis, pabal", "redis", "redis+pubsub", _ask, _answer)


def _measured(stage: Stage, name: str, kind: str, scheme: str, asks: Asks, answers: Answers) -> Figures:
    with serving(kind) as server:
        url = server.url(scheme)
        single, many = stage.count(_SINGLE), stage.count(_MANY)
        (p50, rate), _ = together(partial(_asking, asks, url, single, many), partial(_answering, answers, url))
    return {f"{name}, p50": p50 * 1e6, f"{name}, 64 in flight": rate}


def _asking(asks: Asks, url: str, single: int, many: int, ready: Ready) -> tuple[float, float]:
    async def run() -> tuple[float, float]:
        async with asks(url) as ask:
            ready()
            for number in range(_WARM):
                await ask(ORDERS[number])
            waits = []
            for number in range(single):
                order = ORDERS[number % BATCH]
                started = time.perf_counter()
                answered = await ask(order)
                waits.append(time.perf_counter() - started)
                assert order.id == answered
            numbers = iter(range(many))

            async def lane() -> None:
                for number in numbers:
                    await ask(ORDERS[number % BATCH])

            started = time.perf_counter()
            await asyncio.gather(*[lane() for _ in range(_IN_FLIGHT)])
            rate = many / (time.perf_counter() - started)
            await asyncio.to_thread(ready)
            return median(waits), rate

    return asyncio.run(run())


def _answering(answers: Answers, url: str, ready: Ready) -> tuple[float, float]:
    asyncio.run(answers(url, ready))
    return 0.0, 0.0


@asynccontextmanager
async def _ask(url: str) -> AsyncIterator[Ask]:
    async with Bus(url) as bus:

        async def ask(order: Order) -> int:
            return await bus.request(CHANNEL, order, reply=int, timeout=10.0)

        yield ask


async def _answer(url: str, ready: Ready) -> None:
    bus = Bus(url)

    @bus.handler(CHANNEL, group=GROUP, concurrency=_IN_FLIGHT, delivery="at-most-once")
    async def number(order: Order) -> int:
        return order.id

    async with bus.running():
        ready()
        await asyncio.to_thread(ready)


WORKLOAD = Workload(
    name="requests",
    title="Requests and their answers between two processes",
    parts=(raw_nats, pabal_nats, raw_redis, pabal_redis),
    units={
        "NATS, raw, p50": "µs",
        "NATS, pabal, p50": "µs",
        "Redis, raw, p50": "µs",
        "Redis, pabal, p50": "µs",
        "NATS, raw, 64 in flight": "requests/s",
        "NATS, pabal, 64 in flight": "requests/s",
        "Redis, raw, 64 in flight": "requests/s",
        "Redis, pabal, 64 in flight": "requests/s",
    },
    targets=(
        Target(
            "NATS, one at a time: half of the answers within, over nats-py",
            lambda figures: figures["NATS, pabal, p50"] / figures["NATS, raw, p50"],
            at_most=1.1,
        ),
        Target(
            "NATS, 64 in flight, over nats-py",
            lambda figures: figures["NATS, pabal, 64 in flight"] / figures["NATS, raw, 64 in flight"],
            at_least=0.8,
        ),
        Target(
            "Redis, one at a time: half of the answers within, over redis-py",
            lambda figures: figures["Redis, pabal, p50"] / figures["Redis, raw, p50"],
            at_most=1.1,
        ),
        Target(
            "Redis, 64 in flight, over redis-py",
            lambda figures: figures["Redis, pabal, 64 in flight"] / figures["Redis, raw, 64 in flight"],
            at_least=1,
        ),
    ),
)
