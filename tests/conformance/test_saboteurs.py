"""The conformance kit sees: each saboteur is caught by the promises that it names, honest transports by none."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from pabal.testing import PROMISES, PromiseBroken, UrlSubject, declared, promises
from pabal.testing.saboteurs import LESS, SABOTEURS, OneLine, Prefetching, Sabotaged, TamperedTransport, modest

numbers = count()

DURABLE = {name for name, promise in PROMISES.items() if promise.topic == "durability"}
PAIRS = [(saboteur, name) for saboteur in SABOTEURS for name in SABOTEURS[saboteur].caught_by]


def memory(patience: float = 10.0) -> UrlSubject:
    """A store in memory that nobody else uses."""
    return UrlSubject(f"memory://sabotaged-{next(numbers)}", virtual=True, patience=patience)


@pytest.mark.parametrize(("name", "promise"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
async def test_saboteur_is_caught(name: str, promise: str, tmp_path: Path) -> None:
    """The promise that the saboteur breaks is reported as broken."""
    saboteur = SABOTEURS[name]
    honest = memory(patience=0.2)
    if promise in DURABLE:
        honest = UrlSubject(f"sqlite:///{tmp_path}/box.db", virtual=True, patience=1.0)
    with pytest.raises(PromiseBroken, match=f"breaks {promise}: "):
        await PROMISES[promise].check(Sabotaged(honest, saboteur.tamper))


def test_every_promise_catches_a_saboteur() -> None:
    """No promise is there that no saboteur breaks: each could fail."""
    caught = {name for saboteur in SABOTEURS.values() for name in saboteur.caught_by}
    assert set(PROMISES) - caught == set()


@pytest.mark.parametrize("tamper", [TamperedTransport, Prefetching], ids=["passing_on", "prefetching"])
async def test_honest_wrapper_keeps_all(tamper: type[TamperedTransport]) -> None:
    """What stands before a transport without spoiling anything breaks nothing: it is the sabotage that is caught."""
    for promise in promises(await declared(Sabotaged(memory(), tamper))):
        await promise.check(Sabotaged(memory(), tamper))


async def test_order_of_a_channel_can_be_kept() -> None:
    """A transport whose channels are one line each keeps what is promised about order, with the promise made for it."""
    kept = [each for each in promises(await declared(Sabotaged(memory(), OneLine))) if each.topic == "order"]
    assert "channel_stays_in_order" in [each.name for each in kept]
    for promise in kept:
        await promise.check(Sabotaged(memory(), OneLine))


@pytest.mark.parametrize("without", LESS)
async def test_modest_transport_keeps_what_it_declares(without: str) -> None:
    """A transport that goes without one capability, and says so, keeps every promise that is left to it."""
    kept = promises(await declared(Sabotaged(memory(), modest(without))))
    assert {promise.name for promise in kept} - {
        promise.name for promise in promises(await declared(memory()))
    } != set()
    for promise in kept:
        await promise.check(Sabotaged(memory(), modest(without)))
