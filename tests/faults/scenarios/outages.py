"""What a server can do to its clients: die, stand still, and be out of reach."""

from __future__ import annotations

import asyncio
from functools import partial

from tests.faults.scenarios.troubles import trouble
from tests.faults.scene import Scene
from tests.faults.subject import Proxy, Server

LONGEST = 0.3
"""Seconds: a server is killed at a random moment of so long."""

PADDING = 5_000
"""Bytes that make each message larger: what piled up anywhere would be seen."""


def server(scene: Scene) -> Server:
    assert scene.subject.server is not None, "this scenario is for subjects with a server"
    return scene.subject.server


def proxy(scene: Scene) -> Proxy:
    assert scene.subject.proxy is not None, "this scenario is for subjects behind a proxy"
    return scene.subject.proxy


async def kill(scene: Scene) -> None:
    await asyncio.to_thread(server(scene).kill)


async def start(scene: Scene) -> None:
    await asyncio.to_thread(server(scene).start)


async def freeze(scene: Scene) -> None:
    await asyncio.to_thread(server(scene).freeze)


async def thaw(scene: Scene) -> None:
    await asyncio.to_thread(server(scene).thaw)


async def stall(scene: Scene) -> None:
    await asyncio.to_thread(proxy(scene).stall)


async def forward(scene: Scene) -> None:
    await asyncio.to_thread(proxy(scene).forward)


async def kill_server(scene: Scene, times: int) -> None:
    """Kill the server at a random moment of publishing and consuming, start it again at once, and see all go on."""
    scene.go.touch()
    await scene.crew()
    for _ in range(times):
        await at_work(scene)
        await asyncio.sleep(scene.chance.uniform(0, LONGEST))
        await kill(scene)
        await start(scene)
        scene.seen["server killed"] += 1
    await at_work(scene)


async def at_work(scene: Scene) -> None:
    await scene.progress(*scene.publishers, what="acknowledged", by=20)
    await scene.progress(*scene.workers, what="handled", by=20)


take_server_away = partial(trouble, begin=kill, end=start, padding=PADDING)
freeze_server = partial(trouble, begin=freeze, end=thaw, padding=PADDING)
stall_proxy = partial(trouble, begin=stall, end=forward, padding=PADDING)
