import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance import altered as altered_transport
from tests.acceptance.cli.program import Program

APP = '''
import asyncio
import os
import time
from pathlib import Path

from pabal import Backoff, Bus, Channel, Message

bus = Bus(f"sqlite:///box.db?lease={os.environ.get('LEASE', '30')}")
other = Bus("sqlite:///box.db")
idle = Bus("sqlite:///box.db")
no_bus = {}


@bus.handler("jobs", group="workers")
async def job(message: Message) -> None:
    """Prints, and ends once the file `go` is there."""
    print("took", message.id)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    print("did", message.id)


@bus.handler("stuck", group="workers")
async def stuck(message: Message) -> None:
    """Never ends by itself."""
    print("took", message.id)
    await asyncio.Event().wait()


@bus.handler("hogging", group="workers")
async def hog(message: Message) -> None:
    """Leaves nothing else a turn."""
    print("took", message.id)
    while True:
        time.sleep(1)


@bus.handler("threads", group="workers")
def thread(message: Message) -> None:
    """Cannot be cancelled."""
    print("took", message.id)
    while True:
        time.sleep(1)


@bus.handler("fails", group="workers", retry=Backoff(attempts=1))
async def fail(message: Message) -> None:
    """Never succeeds."""
    raise LookupError("no such user")


@other.handler("questions", group="answers")
async def answer(body: dict) -> object:
    """Answers with what it was asked to."""
    if "fail" in body:
        raise LookupError(body["fail"])
    return body["answer"]
'''


@pytest.fixture
def pabal(tmp_path: Path) -> Iterator[Program]:
    """The program in a folder of its own, with the module `app` in it."""
    (tmp_path / "app.py").write_text(APP)
    program = Program(tmp_path)
    yield program
    program.close()


@pytest.fixture
def altered(pabal: Program) -> Program:
    """The program with a transport ``altered://`` installed beside it, as somebody else's package would be."""
    shutil.copy(altered_transport.__file__, pabal.folder / "altered.py")
    info = pabal.folder / "pabal_altered-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pabal-altered\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pabal.transports]\naltered = altered:altered\n")
    pabal.environment["PYTHONPATH"] = os.pathsep.join([str(pabal.folder), os.environ.get("PYTHONPATH", "")])
    return pabal
