"""Publishing: receipts, options, errors, and who is told of a message that nobody takes."""

import asyncio
from typing import Any

import pytest

from pabal import (
    Backoff,
    Bus,
    CodecError,
    ConfigurationError,
    ConnectionFailed,
    Context,
    Message,
    MessageTooLarge,
    Outgoing,
    PublishError,
    PublishTimeout,
    Unrouted,
)
from pabal.model.clock import VirtualClock
from pabal.model.transport import Receipt
from tests.acceptance.seen import Seen, letters
from tests.acceptance.trouble import Trouble


def collect(bus: Bus, seen: Seen, source: str = "a") -> None:
    @bus.handler(source, group="collect")
    async def handler(message: Message) -> None:
        seen.add(message)


async def test_publish_many(url: str) -> None:
    """Many values are published in their order, each with options of its own where it has some; a receipt each."""
    bus, seen = Bus(url), Seen()
    collect(bus, seen)
    async with bus.running():
        receipts = await bus.publish_many(
            "a", ["one", Outgoing("two", key="k", headers={"x": "y"}, id="my id", expires=60.0), b"three"]
        )
        got = await seen.wait(3)
        assert await bus.publish_many("a", []) == []
    assert [receipt.id for receipt in receipts] == [message.id for message in got]
    assert [(receipt.routed, receipt.receivers, receipt.error) for receipt in receipts] == [(True, 1, None)] * 3
    assert [message.body for message in got] == [b"one", b"two", b"three"]
    assert (got[1].key, got[1].headers, got[1].id) == ("k", {"x": "y"}, "my id")
    assert got[1].expires is not None
    assert (got[1].expires - got[1].time).total_seconds() == 60.0


async def test_given_id(url: str) -> None:
    """A message keeps the id that its publisher gave, and any text up to 200 characters will do."""
    bus, seen = Bus(url), Seen()
    collect(bus, seen)
    async with bus.running():
        assert (await bus.publish("a", 1, id="주문 1")).id == "주문 1"
        assert (await bus.publish("a", 1, id="x" * 200)).id == "x" * 200
        assert [message.id for message in await seen.wait(2)] == ["주문 1", "x" * 200]


async def test_new_ids_rise() -> None:
    """New ids are UUIDs that are all different."""
    async with Bus("memory://", unrouted="drop") as bus:
        ids = [receipt.id for receipt in await bus.publish_many("a", [1] * 500)]
    assert len(set(ids)) == 500
    assert {id[14] for id in ids} == {"7"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"headers": {"ce-id": "x"}}, ConfigurationError),
        ({"headers": {"pabal-x": "x"}}, ConfigurationError),
        ({"headers": {"Nats-Msg-Id": "x"}}, ConfigurationError),
        ({"headers": {"x": "a\nb"}}, ConfigurationError),
        ({"headers": {"x": 1}}, ConfigurationError),
        ({"key": ""}, ConfigurationError),
        ({"id": ""}, ConfigurationError),
        ({"delay": -1}, ConfigurationError),
        ({"expires": -1}, ConfigurationError),
        ({"timeout": -1}, ConfigurationError),
        ({"channel": "a.*"}, ConfigurationError),
        ({"channel": "a..b"}, ConfigurationError),
        ({"value": object()}, CodecError),
    ],
    ids=str,
)
async def test_refused(url: str, options: dict[str, Any], error: type[Exception]) -> None:
    """What cannot be kept as it is, is refused with a typed error, and nothing is sent."""
    async with Bus(url) as bus:
        with pytest.raises(error):
            await bus.publish(**{"channel": "a", "value": 1, **options})
        assert [letter async for letter in bus.dead_letters.list()] == []


async def test_too_large(tmp_path: Any) -> None:
    """A body above the transport's limit raises MessageTooLarge; one at the limit goes."""
    for url in ("memory://?max_body=10", f"sqlite:///{tmp_path / 'box.db'}?max_body=10"):
        async with Bus(url, unrouted="drop") as bus:
            await bus.publish("a", b"x" * 10)
            with pytest.raises(MessageTooLarge) as error:
                await bus.publish("a", b"x" * 11)
            assert [receipt.error is None for receipt in error.value.receipts] == [False]


async def test_receipts_of_a_failed_batch(tmp_path: Any) -> None:
    """When some of many are not taken, the error's receipts tell which; the others are published."""
    for url in ("memory://?max_body=10", f"sqlite:///{tmp_path / 'box.db'}?max_body=10"):
        bus, seen = Bus(url), Seen()
        collect(bus, seen)
        async with bus.running():
            with pytest.raises(PublishError, match="1 of 3 messages were not taken") as error:
                await bus.publish_many("a", [b"one", b"x" * 11, b"three"])
            got = await seen.wait(2)
        assert isinstance(error.value, MessageTooLarge)
        assert [receipt.error is None for receipt in error.value.receipts] == [True, False, True]
        assert [message.id for message in got] == [error.value.receipts[0].id, error.value.receipts[2].id]


async def test_unrouted_becomes_a_dead_letter(url: str) -> None:
    """A message that nobody takes is a dead letter, and its receipt says that it has no receivers."""
    async with Bus(url) as bus:
        receipt = await bus.publish("a", "x", headers={"x": "y"})
        (letter,) = await letters(bus)
    assert (receipt.routed, receipt.receivers, receipt.error) == (False, 0, None)
    assert (letter.reason, letter.source, letter.group, letter.attempts) == ("unrouted", None, None, ())
    assert (letter.message.id, letter.message.body, letter.message.headers) == (receipt.id, b"x", {"x": "y"})


async def test_unrouted_dropped(url: str) -> None:
    """unrouted="drop": nothing is kept, and the receipt tells."""
    async with Bus(url, unrouted="drop") as bus:
        receipt = await bus.publish("a", "x")
        assert (receipt.routed, receipt.receivers) == (False, 0)
        assert [letter async for letter in bus.dead_letters.list()] == []


async def test_unrouted_raises(url: str) -> None:
    """unrouted="raise": the error's receipts tell which of many nobody takes; nothing is kept."""
    bus = Bus(url, unrouted="raise")
    collect(bus, Seen())
    async with bus.running():
        await bus.publish("a", "x")
        with pytest.raises(Unrouted, match="nobody takes b") as error:
            await bus.publish_many("b", ["x", "y"])
        assert [receipt.routed for receipt in error.value.receipts] == [False, False]
        assert [letter async for letter in bus.dead_letters.list()] == []


async def test_unrouted_goes_to_the_box(tmp_path: Any) -> None:
    """With dead_letters=, unrouted messages are kept in that box and not in the transport."""
    box = f"sqlite:///{tmp_path / 'dead.db'}"
    async with Bus("memory://unrouted-to-a-box", dead_letters=box) as bus:
        receipt = await bus.publish("a", "x")
        (letter,) = await letters(bus)
    assert (letter.reason, letter.message.id) == ("unrouted", receipt.id)
    async with Bus("memory://unrouted-to-a-box") as bus:
        assert [letter async for letter in bus.dead_letters.list()] == []


async def test_unknown_policy() -> None:
    """An unknown policy is refused with the known ones."""
    with pytest.raises(ConfigurationError, match="unrouted is one of dead-letter, drop, raise"):
        Bus("memory://", unrouted="ignore")  # type: ignore[arg-type]


async def test_delay() -> None:
    """A delayed message is handled when its time has come, not before."""
    clock = VirtualClock()
    bus, seen = Bus("memory://", clock=clock), Seen()
    collect(bus, seen)
    async with bus.running():
        await bus.publish("a", "later", delay=60.0)
        await bus.publish("a", "now", delay=0)
        await bus.publish_many("a", [Outgoing("latest", delay=90.0)])
        await seen.wait(1)
        clock.advance(59.0)
        await asyncio.sleep(0)
        assert [message.body for message in seen] == [b"now"]
        clock.advance(1.0)
        await seen.wait(2)
        clock.advance(30.0)
        assert [message.body for message in await seen.wait(3)] == [b"now", b"later", b"latest"]


async def test_timeout(trouble: Trouble) -> None:
    """A transport that gives no answer in time raises PublishTimeout, whose outcome is unknown."""

    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    trouble.before["publish"] = never
    async with Bus(trouble.url) as bus:
        with pytest.raises(PublishTimeout, match=r"no answer within 0.01 s"):
            await bus.publish("a", 1, timeout=0.01)
        with pytest.raises(PublishTimeout):
            await bus.publish_many("a", [1, 2], timeout=0.01)


async def test_server_away(trouble: Trouble) -> None:
    """A publish while the server is away raises; it never reports a false success."""
    async with Bus(trouble.url) as bus:
        trouble.fail("publish")
        with pytest.raises(ConnectionFailed, match="the server is away"):
            await bus.publish("a", 1)
        trouble.heal()
        assert isinstance(await bus.publish("a", 1), Receipt)


async def test_ids_of_a_handler_s_publishes(url: str) -> None:
    """A handler that is tried again gives its output the ids it had, equal outputs one each; other output another."""
    bus, seen = Bus(url, retry=Backoff(attempts=3, first=0)), Seen()
    published = Seen()

    @bus.handler("a", group="g")
    async def handler(body: str, context: Context) -> None:
        receipts = [await context.publish("b", "same") for _ in range(2)]
        receipts.append(await context.publish("b", f"attempt {context.attempt}"))
        receipts.append(await context.publish("b", "named", id=f"mine {context.attempt}"))
        published.add([receipt.id for receipt in receipts])
        if context.attempt < 3:
            raise ValueError

    collect(bus, seen, "b")
    async with bus.running():
        await bus.publish("a", "x")
        first, second, third = await published.wait(3)
    assert first[:2] == second[:2] == third[:2]
    assert first[0] != first[1]
    assert len({first[2], second[2], third[2]}) == 3
    assert [first[3], second[3], third[3]] == ["mine 1", "mine 2", "mine 3"]


async def test_ids_of_a_listener_s_publishes(url: str) -> None:
    """Listeners all get a copy, so that what they publish has ids of its own."""
    bus, seen = Bus(url), Seen()
    for _ in range(2):

        @bus.listen("a")
        async def listener(body: str, context: Context) -> None:
            await context.publish("b", "same")

    collect(bus, seen, "b")
    async with bus.running():
        await bus.publish("a", "x")
        first, second = await seen.wait(2)
    assert first.id != second.id


@pytest.mark.parametrize("plain", [False, True])
async def test_chain_of_three(url: str, *, plain: bool) -> None:
    """Correlation names the first message of a chain, causation the one before; a plain def's publishes block."""
    bus, seen = Bus(url), Seen()

    @bus.handler("two", group="g")
    async def second(body: str, context: Context) -> None:
        await context.publish("three", body)

    if plain:

        @bus.handler("one", group="g")
        def first(body: str, context: Context) -> None:
            receipt: Any = context.publish("two", body, key="k")
            assert receipt.routed
            assert isinstance(receipt, Receipt)

    else:

        @bus.handler("one", group="g")
        async def first_async(body: str, context: Context) -> None:
            await context.publish("two", body, key="k")

    @bus.listen(">")
    async def listener(message: Message) -> None:
        seen.add(message)

    async with bus.running():
        await bus.publish("one", "x")
        one, two, three = await seen.wait(3)
    assert (one.correlation_id, one.causation_id) == (None, None)
    assert (two.correlation_id, two.causation_id, two.key) == (one.id, one.id, "k")
    assert (three.correlation_id, three.causation_id) == (one.id, two.id)
