"""What every acceptance test has: a URL of each kind, and proof that nothing is left running."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.trouble import Trouble


@pytest.fixture(autouse=True)
async def nothing_left_running() -> AsyncIterator[None]:
    """No task outlives the bus that made it."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert sorted(task.get_name() for task in left) == []


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A transport that nobody else uses, which several buses may share."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"sqlite:///{tmp_path / 'box.db'}?synchronous=normal"


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    """A transport, installed as somebody else's package would be, that fails when it is told to."""
    info = tmp_path / "pabal_trouble-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pabal-trouble\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pabal.transports]\ntrouble = tests.acceptance.trouble:TroubleTransport\n")
    monkeypatch.syspath_prepend(tmp_path)
    return Trouble()
