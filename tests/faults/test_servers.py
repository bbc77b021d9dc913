"""All harm to a durable server, short and one after another: `make faults` does each for as long as outages last."""

from __future__ import annotations

import pytest

from tests.faults.scenario import Scenario, perform
from tests.faults.scenarios.outages import PADDING, freeze_server, kill_server, stall_proxy, take_server_away
from tests.faults.scene import Scene
from tests.faults.subjects import DURABLE, subject_of
from tests.servers.legs import Given, Leg

BRIEF = 3.0
"""Seconds that a server is away, frozen or out of reach."""


async def all_harm(scene: Scene, times: int) -> None:
    await scene.crew(patient=True, padding=PADDING)
    for harm in (kill_server, take_server_away, freeze_server, stall_proxy):
        await harm(scene, times)


HARM = Scenario(
    "all-harm", "", all_harm, full=1, least={"server killed": 1, "troubles": 3, "failed": 18}, wants="proxy"
)


async def play(leg: Leg | Given, scheme: str) -> None:
    if isinstance(leg, Given):
        pytest.skip(f"{leg} may not be harmed")
    account = await perform(HARM, subject_of(leg, scheme), times=1, seed="1", lasting=BRIEF)
    assert account is not None
    assert (account.lost, account.unexplained) == ([], [])


async def test_jetstream_loses_nothing(nats_leg: Leg | Given) -> None:
    """Killed, away, frozen and cut off: every acknowledged message ends handled or as a dead letter, by itself."""
    await play(nats_leg, DURABLE["nats"])


async def test_redis_streams_lose_nothing(redis_leg: Leg | Given) -> None:
    """The same."""
    await play(redis_leg, DURABLE["redis"])
