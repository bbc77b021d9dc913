"""SIGTERM under load: the worker drains within its grace; a second one ends it at once."""

from __future__ import annotations

import time

from tests.faults.player import Player
from tests.faults.scene import Scene, drained
from tests.faults.waiting import until

GRACE = 4.0
FAREWELL = 4.0
"""Seconds that what was cancelled, and then the last settlements, have beyond the grace."""


async def terminate(scene: Scene, times: int) -> None:
    """Each time: one worker drains, one is signalled twice, one has a handler that outlasts its grace."""
    await scene.crew(grace=GRACE)
    for _ in range(times):
        await drain(scene)
        await twice(scene)
        await too_long(scene)


async def drain(scene: Scene) -> None:
    """Nothing is left unfinished, and the exit code says so."""
    worker = scene.chance.choice(scene.workers)
    await scene.progress(worker, what="handled")
    report = await scene.stop(worker)
    assert report.seconds < GRACE, f"the drain took {report.seconds:.1f} s of {GRACE:g}"
    scene.seen["drained"] += 1
    await replace(scene, worker)


async def twice(scene: Scene) -> None:
    """The second signal does not wait for the handler; its message goes to another."""
    scene.go.unlink(missing_ok=True)
    id, worker = await scene.hold()
    started = time.monotonic()
    worker.terminate()
    await until(lambda: "draining" in worker.errors(), f"{worker.who} drains", GRACE)
    assert worker.alive, "one signal ended it at once"
    worker.terminate()
    ended = await left_behind(scene, worker, id)
    assert ended - started < GRACE, "the second signal waited for the grace"
    scene.seen["ended at once"] += 1


async def too_long(scene: Scene) -> None:
    """A handler that does not end is cancelled when the grace is over; its message goes to another."""
    scene.go.unlink(missing_ok=True)
    id, worker = await scene.hold()
    started = time.monotonic()
    worker.terminate()
    took = await left_behind(scene, worker, id) - started
    assert GRACE <= took < GRACE + FAREWELL, f"it ended after {took:.1f} s"
    scene.seen["ended with the grace"] += 1


async def left_behind(scene: Scene, worker: Player, id: str) -> float:
    """The worker ends with what it must say of a message that it has not finished; returns when it did."""
    code = await worker.ended()
    ended = time.monotonic()
    scene.workers.remove(worker)
    unfinished = [left.message_id for left in drained(worker).unfinished]
    assert code == 1, f"{worker.who} ended with {code}"
    assert id in unfinished, f"{worker.who} names {unfinished}, not {id}"
    await scene.until(lambda: id in scene.book.handled, f"another handles {id}")
    await replace(scene, worker)
    return ended


async def replace(scene: Scene, worker: Player) -> None:
    await scene.worker(worker.who.partition(".")[0], grace=GRACE)
