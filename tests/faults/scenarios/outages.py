"""What a server can do to its clients: die, stand still, and be out of reach."""

from __future__ import annotations

import asyncio
from functools import partial

from tests.faults.scenarios.troubles import trouble
from tests.faults.scene import Scene
from tests.faults.subject import Proxy, Server


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


kill_server = partial(trouble, begin=kill, end=start)
freeze_server = partial(trouble, begin=freeze, end=thaw)
stall_proxy = partial(trouble, begin=stall, end=forward)
