"""kill -9, at random moments, of whoever is at work."""

from __future__ import annotations

import asyncio
import time

from tests.faults.player import Player
from tests.faults.scene import Scene

LONGEST = 0.3
"""Seconds: a victim is killed at a random moment of so long, once it was seen to work."""

LEASES = 2
"""What a killed worker had is with another after so many at most."""


async def kill_one_by_one(scene: Scene, times: int) -> None:
    """Kill two workers and a publisher each time, in any order; another process takes the place of each."""
    await scene.crew()
    victims = ["worker", "worker", "publisher"] * times
    scene.chance.shuffle(victims)
    async with asyncio.TaskGroup() as replacing:
        for kind in victims:
            players = scene.workers if kind == "worker" else scene.publishers
            victim = scene.chance.choice(players)
            await scene.progress(victim, what="handled" if kind == "worker" else "acknowledged")
            await asyncio.sleep(scene.chance.uniform(0, LONGEST))
            await scene.kill(victim)
            scene.seen[f"{kind}s killed"] += 1
            replacing.create_task(replace(scene, kind, victim))


async def kill_all_at_once(scene: Scene, times: int) -> None:
    """Kill every process in the same moment, as a host does that loses its power, and start as many."""
    await scene.crew()
    for _ in range(times):
        await scene.progress(*scene.workers, what="handled")
        await scene.progress(*scene.publishers, what="acknowledged")
        await asyncio.sleep(scene.chance.uniform(0, LONGEST))
        await asyncio.gather(*(scene.kill(player) for player in (*scene.workers, *scene.publishers)))
        scene.seen["all killed"] += 1
        await scene.crew()


async def kill_in_hand(scene: Scene, times: int) -> None:
    """Kill a worker in the middle of a message: another is handed it in time, as the next attempt."""
    await scene.crew()
    for _ in range(times):
        scene.go.unlink(missing_ok=True)
        id, worker = await scene.hold()
        await scene.kill(worker)
        killed = time.monotonic()
        await scene.until(lambda: id in scene.book.handled, f"another handles {id}")  # noqa: B023 - awaited here
        took = time.monotonic() - killed
        assert took < LEASES * scene.subject.lease, f"{id} came to another after {took:.1f} s"
        attempts = [entry.attempt for entry in scene.book.handled[id]]
        assert attempts == [2], f"{id} was handled as attempts {attempts}"
        scene.seen["taken over"] += 1
        await replace(scene, "worker", worker)


async def replace(scene: Scene, kind: str, victim: Player) -> None:
    name = victim.who.partition(".")[0]
    await (scene.worker(name) if kind == "worker" else scene.publisher(name))
