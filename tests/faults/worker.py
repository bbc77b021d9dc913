"""The bus that ``pabal worker tests.faults.worker:bus`` runs: its handler writes down what it has handled.

PABAL_URL is where it reads; FAULTS, in the environment, is its `Task` as JSON.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import msgspec

from pabal import Backoff, Bus, Context, Reject
from pabal.model.transport import OnDead
from tests.faults.ledger import Ledger
from tests.faults.orders import Errand, Task
from tests.faults.waiting import until

task = msgspec.json.decode(os.environ["FAULTS"], type=Task)
ledger = Ledger(Path(task.ledger), task.who)
go = Path(task.go)
bus = Bus(
    name=task.who,
    dead_letters=task.dead_letters,
    grace=task.grace,
    retry=Backoff(attempts=5, first=0.02, most=0.2),
)


on_dead: OnDead = "continue" if task.ordered else "park"


@bus.handler(task.channel, group=task.group, concurrency=4, ordered=task.ordered, on_dead=on_dead)
async def handle(errand: Errand, context: Context) -> None:
    """Do as the message says; what it comes to is written down before it is acknowledged."""
    await asyncio.sleep(random.random() * 0.004)  # noqa: S311 - chance, not secrets
    if errand.fate == "reject":
        raise Reject("as it was told to")
    if errand.fate == "fail" and context.attempt == 1:
        raise RuntimeError("as it was told to")
    if task.patient or (errand.fate == "hold" and is_first(errand)):
        ledger.note("begun", context.message.id, attempt=context.attempt)
        await until(go.exists, "it may go on", 3600.0)
    ledger.note("handled", context.message.id, attempt=context.attempt)


def is_first(errand: Errand) -> bool:
    """Whether nobody was handed this message before; who gets it after them is not to wait."""
    try:
        go.with_name(f"first-{errand.id}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
