"""What an operator reads: a line for what to act on, none for what goes well."""

import asyncio
import logging

import pytest

from pabal import Backoff, Bus
from tests.acceptance.seen import Seen, letters, until


async def test_what_goes_well_is_silent(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Handled messages and retries leave no line at INFO; a retry is said at DEBUG."""
    caplog.set_level(logging.DEBUG, "pabal")
    bus, seen = Bus(url, retry=Backoff(first=0.0)), Seen()

    @bus.handler("a", group="g")
    async def handle(number: int) -> None:
        seen.add(number)
        if len(seen) == 1:
            raise OSError("not yet")

    async with bus.running():
        await bus.publish_many("a", range(3))
        await seen.wait(4)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name.startswith("pabal")]
    assert [level for level, _ in lines] == ["DEBUG"]
    assert "failed on" in lines[0][1]
    assert lines[0][1].endswith("OSError: not yet")


async def test_pulled_dead_letters_are_said(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """What a consumer cannot decode, and what it rejects, is a line as it is of a handler."""
    bus = Bus(url)
    async with bus, bus.consumer("a", group="g", type=int) as consumer:
        broken = await bus.publish("a", "x")
        good = await bus.publish("a", 1)
        (pulled,) = await consumer.pull(max=2, wait=1.0)
        await pulled.reject("no such customer")
        await letters(bus, 2)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith(f"consumer of a @ g: {broken.id} is a dead letter (undecodable): CodecError")
    assert lines[1] == f"consumer of a @ g: {good.id} is a dead letter (rejected): Reject: no such customer"


async def test_an_unfinished_drain_is_said_line_by_line(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each message that was left unfinished is a warning of its own, and the drain one line at INFO."""
    caplog.set_level(logging.INFO, "pabal")
    bus, seen = Bus(url, grace=0.01), Seen()

    @bus.handler("a", group="g")
    async def handle(body: str) -> None:
        seen.add(body)
        await asyncio.Event().wait()

    async def stop_once_it_hangs() -> None:
        receipt = await bus.publish("a", "x")
        seen.add(receipt.id)
        await seen.wait(2)
        assert bus._crew is not None
        bus._crew.stop()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bus.run())
        await until(lambda: bus._crew is not None)
        tasks.create_task(stop_once_it_hangs())
    (id,) = [seen_id for seen_id in seen if seen_id != "x"]
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "pabal"]
    assert [level for level, _ in lines] == ["WARNING", "INFO"]
    assert lines[0][1].startswith("unfinished after")
    assert lines[0][1].endswith(id)
    assert lines[1][1].endswith("0 handled, 1 given back, 1 unfinished")
    assert len(running.result().unfinished) == 1
