from __future__ import annotations

import pytest

from pabal.messagebox.routing import Route, Routing
from pabal.model.errors import ConfigurationError
from pabal.model.transport import GroupId

ROUTING = Routing(
    7,
    [
        (1, "events.a", "save"),
        (2, "events.a", "audit"),
        (3, "events.>", "save"),
        (4, "events.*", "~cafe"),
        (5, "other", "save"),
    ],
)


def test_route_has_exact_groups_and_patterns_and_keeps_listeners_apart() -> None:
    """A channel's route is every group whose source takes it; those of listeners stand apart."""
    assert ROUTING.route("events.a") == Route((1, 2, 3), (4,))
    assert ROUTING.route("events.a.b") == Route((3,), ())
    assert ROUTING.route("nothing") == Route((), ())


def test_group_is_found_by_source_and_name() -> None:
    """A group's identity is its source and its name; a listener's private group is not found by any."""
    assert ROUTING.find(GroupId("events.>", "save")) == 3
    assert ROUTING.find(GroupId("events.>", "audit")) is None
    assert ROUTING.find(GroupId("events.*", "~cafe")) is None
    assert ROUTING.source(4) == "events.*"


def test_a_pattern_is_no_channel_to_publish_to() -> None:
    """Routing a pattern is refused, not taken for a channel that nobody reads."""
    with pytest.raises(ConfigurationError, match="is a pattern"):
        ROUTING.route("events.*")


def test_routes_of_endless_channels_do_not_pile_up() -> None:
    """However many channels are published to, the cache stays bounded."""
    for number in range(10_000):
        ROUTING.route(f"events.{number}")
    assert len(ROUTING._routes) <= 4096
