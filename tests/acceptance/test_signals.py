"""run() and the signals that end it, in a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from pabal import Bus

PROGRAM = """
import asyncio, logging, sys, time
from pabal import Bus

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
bus = Bus(sys.argv[1], grace=float(sys.argv[2]))

@bus.handler("quick", group="g")
async def quick(body: str) -> None:
    print("handled", body, flush=True)

@bus.handler("slow", group="g")
async def slow(seconds: float) -> None:
    print("begun", flush=True)
    await asyncio.sleep(seconds)
    print("handled slow", flush=True)

@bus.handler("plain", group="g")
def plain(seconds: float) -> None:
    print("begun", flush=True)
    time.sleep(seconds)

@bus.listen("ready")
async def ready(body: str) -> None:
    print("ready", flush=True)

async def main():
    report = await bus.run()
    print("report", [left.channel for left in report.unfinished], flush=True)

asyncio.run(main())
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'box.db'}?synchronous=normal"


class Running:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, said: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while said not in self.lines:
                line = await self.process.stdout.readline()
                assert line, f"ended without {said!r}: {self.lines}"
                self.lines.append(line.decode().rstrip())

    async def end(self) -> int:
        async with asyncio.timeout(30):
            assert self.process.stdout is not None
            self.lines += (await self.process.stdout.read()).decode().splitlines()
            return await self.process.wait()


Start = Callable[[float], AbstractAsyncContextManager[tuple[Running, Bus]]]


async def knock(bus: Bus) -> None:
    """Ask for a word until whoever is to answer is there."""
    while True:
        await bus.publish("ready", "?")
        await asyncio.sleep(0.01)


async def deserted(bus: Bus) -> None:
    """Return once nobody listens any more: the drain has begun."""
    while (await bus.publish("ready", "?")).receivers:  # noqa: ASYNC110 - it comes about in another process
        await asyncio.sleep(0.01)


@pytest.fixture
async def start(file: str) -> AsyncIterator[Start]:
    started: list[asyncio.subprocess.Process] = []

    @asynccontextmanager
    async def start(grace: float) -> AsyncIterator[tuple[Running, Bus]]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, file, str(grace)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        running = Running(process)
        async with Bus(file, unrouted="drop") as bus:
            knocking = asyncio.create_task(knock(bus))
            try:
                await running.until("ready")
            finally:
                knocking.cancel()
                await asyncio.gather(knocking, return_exceptions=True)
            yield running, bus

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_drains(start: Start, number: signal.Signals) -> None:
    """SIGTERM and SIGINT let what runs end, and run() returns its report."""
    async with start(60.0) as (running, bus):
        await bus.publish("slow", 0.2)
        await running.until("begun")
        running.process.send_signal(number)
        assert await running.end() == 0
    assert "handled slow" in running.lines
    assert running.lines[-1] == "report []"
    assert any("1 given back" in line or "0 unfinished" in line for line in running.lines)


@pytest.mark.parametrize("channel", ["slow", "plain"])
async def test_second_signal_ends_at_once(start: Start, channel: str) -> None:
    """A second signal ends at once, also when a plain handler hangs; what ran is named and given back."""
    async with start(3600.0) as (running, bus):
        await bus.publish(channel, 3600.0)
        await running.until("begun")
        running.process.send_signal(signal.SIGTERM)
        await deserted(bus)
        await bus.publish("quick", "x")
        assert running.process.returncode is None
        running.process.send_signal(signal.SIGTERM)
        assert await running.end() == 0
        assert running.lines[-1] == f"report ['{channel}']"
        assert "handled x" not in running.lines
        async with bus.consumer(channel, group="g") as consumer:
            assert [(one.value, one.attempt) for one in await consumer.pull(wait=20.0)] == [(3600.0, 1)]


async def test_killed_process(start: Start) -> None:
    """What a killed process had not handled is there for the next one."""
    async with start(60.0) as (running, bus):
        running.process.kill()
        await running.process.wait()
        await bus.publish_many("quick", ["one", "two"])
    async with start(60.0) as (running, bus):
        await running.until("handled one")
        await running.until("handled two")
        running.process.send_signal(signal.SIGTERM)
        assert await running.end() == 0
