from pathlib import Path

import pytest

from pabal.model.clock import SystemClock
from pabal.model.errors import ConfigurationError
from pabal.runtime.registry import make_transport, schemes
from pabal.transports.memory import MemoryTransport

CLOCK = SystemClock()


def install(folder: Path, entry_points: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `folder` a place where a distribution of this name is installed."""
    info = folder / "pabal_pigeon-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pabal-pigeon\nVersion: 1.0\nProvides-Extra: loft\n")
    (info / "entry_points.txt").write_text(f"[pabal.transports]\n{entry_points}\n")
    monkeypatch.syspath_prepend(folder)


def test_known_scheme() -> None:
    """A URL's scheme chooses the transport."""
    assert isinstance(make_transport("memory://", clock=CLOCK), MemoryTransport)


def test_unknown_scheme() -> None:
    """An unknown scheme is an error that lists the known ones and shows no password."""
    with pytest.raises(ConfigurationError) as error:
        make_transport("pigeon://user:secret@loft", clock=CLOCK)
    assert "unknown scheme 'pigeon'" in str(error.value)
    assert "memory://" in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["", "memory", "sqlite:/x"])
def test_no_url(url: str) -> None:
    """What is no URL is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        make_transport(url, clock=CLOCK)


def test_third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's package adds a scheme by an entry point, as ours do."""
    install(tmp_path, "pigeon = pabal.transports.memory:MemoryTransport", monkeypatch)
    assert "pigeon" in schemes()
    assert isinstance(make_transport("pigeon://", clock=CLOCK), MemoryTransport)


def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport whose client is not installed gives the exact install command."""
    (tmp_path / "pigeon_of_test.py").write_text("import no_such_client_library\n")
    install(tmp_path, "pigeon = pigeon_of_test:Pigeon [loft]", monkeypatch)
    with pytest.raises(ConfigurationError) as error:
        make_transport("pigeon://", clock=CLOCK)
    assert "pip install 'pabal-pigeon[loft]'" in str(error.value)
    assert "'no_such_client_library'" in str(error.value)
