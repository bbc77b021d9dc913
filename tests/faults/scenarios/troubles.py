"""The place makes trouble for a while: publishes fail in so many words, and afterwards all goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.scene import Scene

MOST_GROWN = 50_000_000
"""Bytes that a process may grow by in a time of trouble: less than what is published in one of half a minute."""

Change = Callable[[Scene], Awaitable[None]]


async def trouble(scene: Scene, times: int, *, begin: Change, end: Change, failures: int = 3, padding: int = 0) -> None:
    """Handlers end while their work cannot be settled; the same processes go on once the trouble is over.

    It lasts as long as the scene says, and until each publisher has so many failures, and each worker has handled
    something meanwhile. Nobody needs much more memory for that.
    """
    scene.go.touch()
    await scene.crew(patient=True, padding=padding)
    for _ in range(times):
        await scene.progress(*scene.workers, what="handled")
        scene.go.unlink()
        await scene.progress(*scene.workers, what="begun")
        before = {player: player.memory() for player in (*scene.workers, *scene.publishers)}
        over = asyncio.get_running_loop().time() + scene.lasting
        await begin(scene)
        await scene.progress(*scene.publishers, what="failed", by=failures)
        scene.go.touch()
        await scene.progress(*scene.workers, what="handled")
        await asyncio.sleep(over - asyncio.get_running_loop().time())
        grown = max(player.memory() - had for player, had in before.items())
        assert grown < MOST_GROWN, f"a process grew by {grown:,} bytes"
        scene.seen["megabytes grown"] = max(scene.seen["megabytes grown"], grown // 1_000_000)
        await end(scene)
        await scene.progress(*scene.publishers, what="acknowledged")
        await scene.catch_up()  # else a slow machine's backlog would make the next trouble by itself
        await scene.progress(*scene.workers, what="handled")
        scene.seen["troubles"] += 1
