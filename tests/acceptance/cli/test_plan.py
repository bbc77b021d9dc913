"""``pabal plan``: what is kept, what is added, what is refused, and what ``pabal worker`` then says."""

import pytest

from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import Program

PLANNED = """
from pabal import Bus

bus = Bus("altered://a?lacks=order,delays_publish", dead_letters="sqlite:///dead.db")
needy = Bus("altered://a?lacks=order,patterns,parks", unrouted="raise")


@bus.handler("jobs", group="workers")
@needy.handler("jobs", group="workers", ordered=True, on_dead="continue")
async def job(body: object) -> None: ...


@bus.listen("events.>")
@needy.listen("events.>")
async def log(body: object) -> None: ...
"""


@pytest.fixture
def planned(altered: Program) -> Program:
    """The module `planned` with two buses on a transport that lacks something."""
    (altered.folder / "planned.py").write_text(PLANNED)
    return altered


def test_a_plan_names_each_need_with_its_verdict(planned: Program) -> None:
    """A table for a person, each handler and the bus named once; what only some calls need is no failure."""
    table = [line.rstrip() for line in planned.run("plan", "planned:bus").splitlines()]
    assert ["who", "need", "verdict", "why"] == table[0].split()
    assert [
        line for line in table if line.startswith(("job (jobs @ workers)  group  ", "the bus  ", "log (events.>)  "))
    ]
    (dead,) = (line for line in table if "dead letters" in line)
    assert "emulated" in dead
    assert dead.endswith("parked in sqlite:///dead.db")
    (delay,) = (line for line in table if "delay=" in line)
    assert "refused if used" in delay
    assert not (planned.folder / "dead.db-wal").exists()


def test_a_plan_as_json(planned: Program) -> None:
    """A line a need, with the way out where it is refused."""
    lines = planned.lines(shapes.Planned, "plan", "planned:bus")
    assert {"planned:bus"} == {line.bus for line in lines}
    assert ["job (jobs @ workers)", "log (events.>)", "the bus"] == list(dict.fromkeys(line.who for line in lines))
    assert {"native", "emulated", "refused"} == {line.verdict for line in lines}
    assert all((line.way_out is not None) == (line.verdict == "refused") for line in lines)
    assert [] == [line for line in lines if line.stops]


def test_what_is_refused_fails_with_its_way_out(planned: Program) -> None:
    """The plan exits with 1 and names the way out; a worker refuses with the same words, exit code 2."""
    out, err = planned.outcome("plan", "planned:needy", code=1)
    assert (
        "pabal: planned:needy does not start on Bus('altered://a?lacks=order,patterns,parks'): 2 needs refused\n" == err
    )
    stopping = [line for line in planned.lines(shapes.Planned, "plan", "planned:needy", code=1) if line.stops]
    assert ["order per key", "pattern"] == [line.need for line in stopping]
    refusal = planned.outcome("worker", "planned:needy", code=2)[1]
    for line in stopping:
        assert f"{line.reason}; {line.way_out}" in out
        assert f"{line.who}: {line.need} is refused: {line.reason}; {line.way_out}" in refusal


def test_offline_nothing_is_connected(planned: Program) -> None:
    """What the transport can do on the best of servers needs none of them, and is said to be no more."""
    out, err = planned.outcome("plan", "planned:needy", "--offline")
    assert "best of servers" in err
    assert "refused" not in out
    planned.run("plan", "app:bus", "--offline")
    assert not (planned.folder / "box.db").exists()
    planned.run("plan", "app:bus")
    assert (planned.folder / "box.db").exists()
