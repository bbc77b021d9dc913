"""SIGSTOP of a worker for longer than its lease, then SIGCONT: its late settlement is fenced."""

from __future__ import annotations

from tests.faults.scene import Scene

LEASES = 4
"""After so many the message should be with another; if not, the frozen one holds what all need."""

UNLUCKY = 5
"""So often a frozen worker may have been in the middle of writing."""


async def freeze(scene: Scene, times: int) -> None:
    """Freeze a worker so many times until another has handled what it had."""
    await scene.crew()
    while scene.seen["frozen"] < times:
        what = "frozen" if await once(scene) else "frozen in a write"
        scene.seen[what] += 1
        assert scene.seen["frozen in a write"] < times + UNLUCKY, "no message of a frozen worker comes to another"


async def once(scene: Scene) -> bool:
    """Freeze a worker in the middle of a message, let it go on and settle; returns whether another handled it first.

    None does when the worker was frozen while it wrote: an embedded transport lets nobody else write then.
    """
    scene.go.unlink(missing_ok=True)
    id, worker = await scene.hold()
    worker.freeze()
    handled = scene.book.handled
    by_another = await scene.comes_true(lambda: id in handled, LEASES * scene.subject.lease + 5.0)
    scene.go.touch()
    worker.thaw()
    await scene.until(lambda: len(handled.get(id, [])) > by_another, f"{worker.who} ends {id}")
    return by_another
