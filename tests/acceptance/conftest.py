"""What every acceptance test has: a URL of each kind, and proof that nothing is left running."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.acceptance.lines import Lines
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


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, where dead letters may end that nobody else keeps."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    """A transport, installed as somebody else's package would be, that fails when it is told to."""
    _install("trouble = tests.acceptance.trouble:TroubleTransport", tmp_path, monkeypatch)
    return Trouble()


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """An ordered transport that hands out several messages of one key, and keeps a log to start in."""
    _install("lines = tests.acceptance.lines:LinesTransport", tmp_path, monkeypatch)
    return Lines()


@pytest.fixture
def altered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """URLs of a transport that lacks capabilities, and says that it has others: ``altered(lacks="parks")``."""
    _install("altered = tests.acceptance.altered:altered", tmp_path, monkeypatch)
    name = uuid.uuid4().hex

    def url(*, lacks: str = "", has: str = "") -> str:
        return f"altered://{name}?lacks={lacks}&has={has}"

    return url


def _install(entry_point: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = entry_point.partition(" ")[0]
    info = folder / f"pabal_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pabal-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pabal.transports]\n{entry_point}\n")
    monkeypatch.syspath_prepend(folder)
