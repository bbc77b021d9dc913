"""Where a new group begins, on a transport that keeps a log."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pabal import Bus, CapabilityError, ConfigurationError
from tests.acceptance.lines import Lines

TIME = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("start", ["oldest", "new", TIME, None], ids=str)
async def test_start_reaches_the_transport(lines: Lines, start: Any) -> None:
    """What a handler or a consumer says about its start is what the transport is asked for."""
    bus = Bus(lines.url)

    @bus.handler("a", group="g", start=start)
    async def handler(body: str) -> None: ...

    async with bus.running(), bus.consumer("b", group="g", start=start):
        pass
    assert [(source.channel, source.start) for source in lines.sources] == [("a", start), ("b", start)]


async def test_start_is_refused_where_no_log_is_kept(url: str) -> None:
    """Before the first message, with the way out."""
    bus = Bus(url)

    @bus.handler("a", group="g", start="oldest")
    async def handler(body: str) -> None: ...

    async with bus:
        with pytest.raises(CapabilityError, match="leave out start="):
            async with bus.running():
                pass
        with pytest.raises(CapabilityError, match="leave out start="):
            async with bus.consumer("b", group="g", start=TIME):
                pass
        assert await (await bus._open()).transport.groups() == []  # type: ignore[attr-defined]  # both administer


@pytest.mark.parametrize("start", ["Oldest", 5, datetime(2026, 1, 1)], ids=str)  # noqa: DTZ001 - that is the point
def test_what_no_start_is(start: Any) -> None:
    """Neither a word that is none nor a time without its zone."""
    bus = Bus("memory://")

    async def handler(body: str) -> None: ...

    with pytest.raises(ConfigurationError, match="start"):
        bus.handler("a", group="g", start=start)(handler)
    with pytest.raises(ConfigurationError, match="start"):
        bus.consumer("a", group="g", start=start)


def test_what_no_on_dead_is() -> None:
    """A word that is none is refused, and the words are named."""
    with pytest.raises(ConfigurationError, match="park, continue"):
        Bus("memory://").handler("a", group="g", on_dead="stop")  # type: ignore[call-overload]


def test_what_is_not_ordered_has_nothing_to_continue() -> None:
    """`on_dead` says what becomes of the later ones of a key: without an order there are none, which is said."""
    with pytest.raises(ConfigurationError, match="ordered=True"):
        Bus("memory://").handler("a", group="g", on_dead="continue")
