"""What a user of NATS may not do is told: the server itself answers nothing, and drops what it refuses."""

import asyncio

import pytest

from pabal import Backoff, Bus, ConfigurationError, Context, PublishError
from pabal.model.clock import SystemClock
from pabal.model.transport import Source
from pabal.runtime.registry import make_transport
from tests.acceptance.seen import Seen
from tests.acceptance.transports.jetstreams import post
from tests.servers.plugin import Start
from tests.servers.server import Server

PERMISSIONS = {
    "publish": {"deny": ["todo.Secret"]},
    "subscribe": {"deny": ["todo.Hidden", "pabal-requests.todo.Hidden"]},
}


@pytest.fixture(params=["nats", "jetstream"])
def scheme(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def server(start_nats: Start) -> Server:
    """A server whose user may not do everything."""
    user = {"user": "me", "password": "pw", "permissions": PERMISSIONS}
    return start_nats(user="me", password="pw", settings={"authorization": {"users": [user]}})


async def test_a_publish_that_is_not_allowed_fails(server: Server, scheme: str) -> None:
    """Each receipt of a batch tells it of its own message; what is allowed goes through."""
    transport = make_transport(server.url(scheme), clock=SystemClock())
    await transport.open()
    reader = await transport.subscribe(Source("todo.new", "save"))
    async with asyncio.timeout(5):
        receipts = await transport.publish([post("todo.Secret" if n % 2 else "todo.new", f"m{n}") for n in range(6)])
    assert [bool(n % 2) for n in range(6)] == [isinstance(receipt.error, PublishError) for receipt in receipts]
    assert "not allowed" in str(receipts[1].error)
    (again,) = await transport.publish([post("todo.new", "last")])
    assert None is again.error
    got = {each.message.id for each in await reader.receive(10)}
    while "last" not in got:
        got |= {each.message.id for each in await reader.receive(10)}
    await transport.aclose()


async def test_reading_what_is_not_allowed_is_refused(server: Server, scheme: str) -> None:
    """A bus does not start whose handler or listener would hear nothing."""
    bus, seen = Bus(server.url(scheme)), Seen()

    @bus.handler("todo.Hidden", group="save", delivery="at-most-once")
    async def save(number: int) -> None:
        seen.add(number)

    with pytest.raises(ConfigurationError, match=r"not allowed to subscribe to .*todo\.Hidden"):
        async with asyncio.timeout(5), bus.running():
            pass


LEAST = {
    "nats": {"publish": ["todo.>", "_INBOX.>"], "subscribe": ["todo.>", "_INBOX.>"]},
    "jetstream": {
        "publish": [
            "todo.>",
            "_INBOX.>",
            "pabal-requests.>",
            "pabal-members.>",
            "$JS.API.>",
            "$JS.ACK.>",
            "$KV.pabal-failures.>",
        ],
        "subscribe": [
            "todo.>",
            "_INBOX.>",
            "pabal-requests.>",
            "pabal-members.>",
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
        ],
    },
}


async def test_the_rights_that_are_documented_are_enough(
    start_nats: Start, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has these and no others publishes, fails, retries, and is answered; nothing is refused on the way."""
    user = {"user": "me", "password": "pw", "permissions": LEAST[scheme]}
    server = start_nats(user="me", password="pw", settings={"authorization": {"users": [user]}})
    bus, seen = Bus(server.url(scheme), retry=Backoff(first=0.0)), Seen()

    @bus.handler("todo.new", group="save", delivery="at-most-once")
    async def save(number: int, context: Context) -> int:
        seen.add((number, context.attempt))
        if context.attempt == 1 and number == 1:
            raise ValueError("again")
        return number

    @bus.listen("todo.>")
    async def listen(number: int) -> None:
        seen.add(number)

    async with bus.running():
        await bus.publish("todo.new", 1)
        assert {(1, 1), (1, 2), 1} == set(await seen.wait(3))
        assert 2 == await bus.request("todo.new", 2, reply=int)
    assert [] == [record.getMessage() for record in caplog.records if "ermission" in record.getMessage()]
