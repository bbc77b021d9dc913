"""What an explorer sees, what it checks by itself, and how its runs can be had again."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings

from pabal import Backoff, Batch, Bus, ConfigurationError, Context, Reject
from pabal.testing import Explorer, Fault, Plan, Run, ScenarioBroken
from pabal.testing.saboteurs import SABOTEURS
from tests.acceptance.exploring import shops

On = Literal["memory", "sqlite"]
both = pytest.mark.parametrize("on", ["memory", "sqlite"])


def shop(run: Run) -> Bus:
    bus = Bus(shops.URL, retry=Backoff(attempts=3, first=1.0))

    @bus.handler("orders.placed", group="billing")
    async def bill(item: str, context: Context) -> None:
        if item == "gold":
            raise Reject("sold out")
        if context.attempt == 1 and item == "rice":
            raise OSError("try again")
        await asyncio.sleep(2.0)
        await context.publish("orders.billed", item)

    return shops.mailing(bus)


async def three_orders(run: Run) -> None:
    for item in ("tea", "rice", "gold"):
        await run.bus.publish("orders.placed", item)


# The ledger's promise.


@both
def test_honest_transports_keep_the_ledgers_promise(on: On) -> None:
    """Nothing is lost in silence on memory:// and in a message box, whatever goes wrong in one place, or in several."""
    explorer = Explorer(shop, three_orders, on=on)
    explorer.each("crash", "freeze")
    explorer.search(30, seed=1)


@pytest.mark.parametrize(
    ("saboteur", "plans", "why"),
    [
        ("forgets_acks", [""], "what is done came again"),
        ("drops_the_rejected", [""], "neither handled nor a dead letter in group billing"),
        ("acks_on_receive", ["crash"], "neither handled nor a dead letter in group billing"),
        ("always_says_done", ["freeze"], "what is done came again"),
    ],
)
def test_a_transport_that_breaks_the_promise_is_noticed(saboteur: str, plans: list[Any], why: str) -> None:
    """The ledger notices saboteurs of the conformance kit, those alone that need a crash or a freeze by exploring."""
    explorer = Explorer(shop, three_orders, tamper=SABOTEURS[saboteur].tamper, horizon=600.0)
    with pytest.raises(ScenarioBroken) as broken:
        explorer.each(*plans) if plans != [""] else explorer.run()
    assert why in broken.value.why


def test_what_nobody_reads_is_owed_a_dead_letter() -> None:
    """A message on a channel without readers is a dead letter, and that is checked too."""

    async def scenario(run: Run) -> None:
        await run.bus.publish("orders.unknown", "tea")
        await run.settled()
        assert ["unrouted"] == [letter.reason for letter in run.dead_letters]

    Explorer(shop, scenario).run()

    async def unknown(run: Run) -> None:
        await run.bus.publish("orders.unknown", "tea")

    with pytest.raises(ScenarioBroken, match="no dead letter, though nobody reads its channel"):
        Explorer(shop, unknown, tamper=SABOTEURS["parks_nothing"].tamper).run()


@both
def test_what_waits_behind_a_dead_letter_is_not_lost(on: On) -> None:
    """Messages of a key whose message died wait until somebody redrives it: the run ends, and the promise is kept."""

    def ordered(run: Run) -> Bus:
        bus = Bus(shops.URL)

        @bus.handler("orders.placed", group="billing", ordered=True)
        async def bill(item: str) -> None:
            if item == "tea":
                raise Reject("no tea")

        return bus

    async def scenario(run: Run) -> None:
        for item in ("tea", "milk"):
            await run.bus.publish("orders.placed", item, key="a")

    trace = Explorer(ordered, scenario, on=on).run()
    assert "billing gives up (rejected) m1" in str(trace)


@both
def test_ordered_handlers_keep_the_order_of_each_key_through_anything(on: On) -> None:
    """With a crash, a freeze or several of them, each key's messages first end in the order of publishing."""

    def ordered(run: Run) -> Bus:
        bus = Bus(shops.URL)

        @bus.handler("orders.placed", group="shipping", ordered=True, concurrency=4)
        async def ship(item: str, context: Context) -> None:
            if context.message.id not in run.state.known:
                run.state.known.add(context.message.id)
                run.state.sent.append(item)
            await asyncio.sleep(1.0)

        return bus

    async def scenario(run: Run) -> None:
        for number in range(3):
            for key in "ab":
                await run.bus.publish("orders.placed", f"{key}{number}", key=key)

    def in_order(run: Run) -> None:
        for key in "ab":
            mine = [item for item in run.state.sent if item.startswith(key)]
            assert [f"{key}{number}" for number in range(3)] == mine

    explorer = Explorer(ordered, scenario, in_order, state=shops.Warehouse, on=on)
    explorer.each("crash", "freeze", "duplicate")
    explorer.search(25, seed=2)


# What can be had again.


@both
def test_the_same_plan_gives_the_same_run(on: On) -> None:
    """To the letter, retries with jitter included."""
    explorer = Explorer(shop, three_orders, on=on)
    plan = Plan((Fault(3, "freeze"), Fault(11, "crash"), Fault(14, "reorder")))
    assert "freeze@3 crash@11 reorder@14" == str(plan)
    traces = {str(explorer.run(each)) for each in (plan, str(plan), plan)}
    assert 1 == len(traces)


def test_another_interpreter_gives_the_same_run(tmp_path: Path) -> None:
    """The order of sets, which differs from interpreter to interpreter, is nowhere in a run."""
    program = "from tests.acceptance.exploring.test_exploring import *\nfor on in ('memory', 'sqlite'): "
    program += "print(Explorer(shop, three_orders, on=on).run('crash@5 freeze@9'))"
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert 1 == len(traces)
    assert "DIES HERE" in traces.pop()


def test_hypothesis_shrinks_to_the_smallest_plan() -> None:
    """Of all plans that break the promise the one with one fault is told."""
    explorer = Explorer(shops.publishes_before_commit, shops.order, shops.announced_is_billed)
    with pytest.raises(ScenarioBroken) as broken:
        explorer.search(200, seed=3)
    assert "crash@3" == str(broken.value.plan)


def test_plans_can_be_drawn_in_a_test_of_ones_own() -> None:
    """`plans` is a strategy like any other."""
    explorer = Explorer(shop, three_orders)

    @settings(max_examples=10, database=None, derandomize=True)
    @given(plan=explorer.plans())
    def attempt(plan: Plan) -> None:
        assert Plan.parse(str(plan)) == plan
        explorer.run(plan)

    attempt()


@pytest.mark.parametrize("text", ["crash", "crash@0", "burn@3", "crash@x"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    """The error says how a fault is written."""
    with pytest.raises(ConfigurationError, match="as in crash@3"):
        Explorer(shop, three_orders).run(text)


# What is a point.


@both
def test_every_await_of_a_handler_is_a_point(on: On) -> None:
    """A crash at each leaves the lines after it undone, its `except` and `finally` too."""

    def make(run: Run) -> Bus:
        bus = Bus(shops.URL)

        @bus.handler("orders.placed", group="billing")
        async def bill(item: str) -> None:
            try:
                run.state.append("begins")
                await asyncio.sleep(1.0)
                run.state.append("goes on")
                await asyncio.sleep(1.0)
                run.state.append("ends")
            finally:
                run.state.append("finally")

        return bus

    seen: list[list[str]] = []

    def note(run: Run) -> None:
        seen.append(list(run.state))

    explorer = Explorer(make, shops.order, note, state=list, on=on)
    texts = [point.text for point in explorer.points()]
    assert [
        "billing gets m1 (attempt 1)",
        "bill goes on",
        "bill goes on",
        "billing acknowledges m1",
        "the store has settled m1 DONE",
    ] == texts
    whole = ["begins", "goes on", "ends", "finally"]
    seen.clear()
    for number in range(1, 6):
        explorer.run(f"crash@{number}")
    assert [whole, ["begins", *whole], ["begins", "goes on", *whole], [*whole, *whole], whole] == seen


@both
def test_a_declared_effect_has_a_point_before_and_after(on: On) -> None:
    """What has an effect and no await that waits is seen where it is declared, plain or async."""

    def make(run: Run) -> Bus:
        bus = Bus(shops.URL)
        append = run.effect(run.state.append)

        @bus.handler("orders.placed", group="billing")
        async def bill(item: str) -> None:
            await append("debit")
            await append("credit")

        return bus

    def balanced(run: Run) -> bool:
        return bool(run.state.count("debit") == run.state.count("credit"))

    with pytest.raises(ScenarioBroken) as broken:
        Explorer(make, shops.order, balanced, state=list, on=on).each("crash")
    assert "append is done, nothing after it in bill (test_exploring.py:" in str(broken.value)
    assert 'await append("debit")' in str(broken.value)


@both
def test_a_fragile_scenario_dies_between_its_commit_and_its_publish(on: On) -> None:
    """Whoever writes to a database and publishes then, loses the event where the process dies in between."""

    async def place(run: Run) -> None:
        with closing(sqlite3.connect(run.folder / "shop.db")) as db:
            await run.effect(db.execute)("CREATE TABLE orders (item)")
            await run.effect(db.execute)("INSERT INTO orders VALUES ('tea')")
            db.commit()
            await run.bus.publish("orders.placed", "tea")

    def placed(run: Run) -> None:
        with closing(sqlite3.connect(run.folder / "shop.db")) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            kept = [item for (item,) in db.execute("SELECT item FROM orders")] if tables else []
        assert kept == run.values("orders.placed", str), "the order is kept, and nobody was told"

    Explorer(shop, place, placed, on=on).each()
    with pytest.raises(ScenarioBroken, match="the order is kept, and nobody was told") as broken:
        Explorer(shop, place, placed, on=on, fragile=True).each("crash")
    assert "it has not reached the store" in str(broken.value)
    assert 'await run.bus.publish("orders.placed", "tea")' in str(broken.value)


@both
def test_a_pulled_message_that_is_acknowledged_before_its_answer_is_published_is_found(on: On) -> None:
    """Settling before publishing loses what was to be published."""

    async def scenario(run: Run) -> None:
        async with run.bus.consumer("orders.placed", group="puller", type=str) as consumer:
            await run.bus.publish("orders.placed", "tea")
            for delivery in await consumer.pull(wait=5.0):
                await delivery.ack()
                await run.bus.publish("orders.billed", delivery.value)

    def all_billed(run: Run) -> None:
        assert set(run.values("orders.placed", str)) == set(run.values("orders.billed", str))

    explorer = Explorer(
        lambda run: shops.mailing(Bus(shops.URL)), scenario, all_billed, on=on, fragile=True, horizon=200
    )
    (acked,) = [point for point in explorer.points() if "has settled m1" in point.text]
    with pytest.raises(ScenarioBroken, match="assert") as broken:
        explorer.run(f"crash@{acked.number}")
    assert "the scenario: the store has settled m1 DONE" in str(broken.value)


# Whatever handlers there are.


@both
def test_plain_functions_batches_and_requests_are_explored(on: On) -> None:
    """Handlers in threads, handlers of batches and handlers that ask others go through crashes as well."""

    def make(run: Run) -> Bus:
        bus = Bus(shops.URL)

        @bus.handler("orders.placed", group="thread")
        def plain(item: str, context: Context) -> None:
            context.publish("orders.noted", item)  # type: ignore[unused-coroutine]  # it blocks in a plain def

        @bus.handler("orders.noted", group="batches", batch=Batch(10, wait=0.5))
        async def note(items: list[str]) -> None: ...

        @bus.handler("orders.placed", group="asking")
        async def ask(item: str, context: Context) -> None:
            assert 3 == await context.request("orders.price", item, reply=int, timeout=5.0)

        @bus.handler("orders.price", group="prices")
        async def price(item: str) -> int:
            return len(item)

        return bus

    explorer = Explorer(make, shops.order, on=on, processes=2)
    explorer.run()
    for number in range(1, len(explorer.points()) + 1, 3):
        explorer.run(f"crash@{number}")


@both
def test_a_bus_at_the_top_of_a_module_can_be_explored(on: On) -> None:
    """Where there is no function that makes the bus, the bus itself goes; what its handlers share is kept then."""
    bus = Bus("sqlite:///elsewhere.db")

    @bus.handler("orders.placed", group="billing")
    async def bill(item: str, context: Context) -> None:
        await context.publish("orders.billed", item)

    Explorer(shops.mailing(bus), shops.order, on=on).each("crash", "freeze")
    assert not Path("elsewhere.db").exists()


def test_a_process_may_be_made_by_an_async_function() -> None:
    """So that it can connect to what needs an event loop."""

    async def make(run: Run) -> Bus:
        await asyncio.sleep(1.0)
        return shop(run)

    Explorer(make, three_orders).each("crash")


@both
def test_what_a_dead_process_had_not_committed_is_undone(on: On) -> None:
    """Its connections are closed as the operating system closes them, so that others can go on writing."""

    def make(run: Run) -> Bus:
        db, bus = shops.database(run), Bus(shops.URL)

        @bus.handler("orders.placed", group="billing")
        async def bill(item: str, context: Context) -> None:
            db.execute("INSERT INTO bills VALUES (?, ?, ?)", (f"{context.attempt}", item, item))
            await asyncio.sleep(1.0)
            db.commit()

        return bus

    explorer = Explorer(make, shops.order, lambda run: shops.bills(run, "message") == ["2"], on=on)
    explorer.run("crash@2")


# What goes wrong by itself.


def test_what_does_not_come_to_rest_says_so() -> None:
    """A handler that hangs is named."""

    def make(run: Run) -> Bus:
        bus = Bus(shops.URL)

        @bus.handler("orders.placed", group="billing")
        async def bill(item: str) -> None:
            await asyncio.sleep(1e9)

        return bus

    with pytest.raises(ScenarioBroken, match="to rest within 600 s, got: bill goes on in process 1; group billing of"):
        Explorer(make, shops.order, horizon=600.0).run()


def test_what_a_scenario_raises_is_told_with_what_happened() -> None:
    """Its error is the first line, and the cause."""

    async def scenario(run: Run) -> None:
        await run.bus.publish("orders.placed", "tea")
        raise LookupError("no such order")

    with pytest.raises(ScenarioBroken, match=r"LookupError: no such order") as broken:
        Explorer(shop, scenario).run()
    assert isinstance(broken.value.__cause__, LookupError)
    assert "Nothing had gone wrong: the scenario fails by itself." in str(broken.value)


async def test_an_explorer_wants_a_plain_test() -> None:
    """Where an event loop runs it would block that one, and says so."""
    with pytest.raises(ConfigurationError, match="would block the event loop"):
        Explorer(shop, three_orders).run()


@pytest.mark.parametrize("options", [{"on": "kafka"}, {"processes": 0}, {"horizon": 0.0}], ids=str)
def test_bad_options_are_refused(options: Any) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigurationError):
        Explorer(shop, three_orders, **options)


@both
def test_a_run_leaves_nothing_behind(on: On, caplog: pytest.LogCaptureFixture) -> None:
    """No folder, no thread and no complaint of asyncio's, whatever was left in the middle."""
    folders: list[Path] = []

    async def scenario(run: Run) -> None:
        folders.append(run.folder)
        await three_orders(run)

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        Explorer(shop, scenario, on=on).each("crash")
    assert not any(folder.exists() for folder in folders)
    assert [] == [record for record in caplog.records if record.name == "asyncio"]
