"""The place makes trouble for a while: publishes fail in so many words, and afterwards all goes on by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.faults.scene import Scene

Change = Callable[[Scene], Awaitable[None]]


async def trouble(scene: Scene, times: int, *, begin: Change, end: Change, failures: int = 3, padding: int = 0) -> None:
    """Handlers end while their work cannot be settled; the same processes go on once the trouble is over.

    It lasts until each publisher has so many failures, and each worker has handled something meanwhile.
    """
    scene.go.touch()
    await scene.crew(patient=True, padding=padding)
    for _ in range(times):
        await scene.progress(*scene.workers, what="handled")
        scene.go.unlink()
        await scene.progress(*scene.workers, what="begun")
        await begin(scene)
        await scene.progress(*scene.publishers, what="failed", by=failures)
        scene.go.touch()
        await scene.progress(*scene.workers, what="handled")
        await end(scene)
        await scene.progress(*scene.publishers, what="acknowledged")
        await scene.progress(*scene.workers, what="handled", by=20)
        scene.seen["troubles"] += 1
