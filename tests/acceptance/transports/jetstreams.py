"""JetStream as a plain client sees it, and deliveries as a transport hands them out."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.subscription import Subscription as Subscribed

from pabal.model.clock import SystemClock, utc
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Outcome, Settlement
from pabal.model.transport import Delivery, Post, Settled, Subscription
from pabal.runtime.registry import make_transport
from pabal.transports.nats import JetStreamTransport
from tests.acceptance.seen import PATIENCE


async def opened(url: str) -> JetStreamTransport:
    """A transport that is open; close it."""
    transport = make_transport(url, clock=SystemClock())
    assert isinstance(transport, JetStreamTransport)
    await transport.open()
    return transport


async def api(client: Client, call: str, request: object = None) -> dict[str, Any]:
    """What JetStream answers to a call of its API."""
    body = b"" if request is None else json.dumps(request).encode()
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{call}", body, timeout=5)).data)
    return answer


async def subscribed(client: Client, subject: str, **options: Any) -> Subscribed:
    """A plain subscription that the server knows of: the client's own flush may overtake it."""
    subscription = await client.subscribe(subject, **options)
    barrier = client.new_inbox()
    passed = await client.subscribe(barrier)
    await client.publish(barrier)
    await passed.next_msg(PATIENCE)
    await passed.unsubscribe()
    return subscription


async def stream_of(client: Client, subject: str) -> str:
    """The name of the only stream that keeps a subject."""
    (name,) = (await api(client, "STREAM.NAMES", {"subject": subject}))["streams"]
    return str(name)


async def make(client: Client, name: str, *subjects: str, **more: Any) -> None:
    """A stream of somebody else's."""
    config = {"name": name, "subjects": subjects, "storage": "file", **more}
    answer = await api(client, f"STREAM.CREATE.{name}", config)
    assert "error" not in answer


async def kept(client: Client, subject: str) -> dict[str, int]:
    """How many messages the stream of a subject keeps of each, by the last token."""
    stream = await stream_of(client, subject)
    state = (await api(client, f"STREAM.INFO.{stream}", {"subjects_filter": ">"}))["state"]
    return {subject.rpartition(".")[2]: count for subject, count in (state.get("subjects") or {}).items()}


def post(channel: str, id: str, **more: Any) -> Post:
    """A message with its id as its body."""
    return Post(Message(id=id, channel=channel, body=id.encode(), time=utc(SystemClock().time())), **more)


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    """As many deliveries, left unsettled."""
    got: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(got) < count:
            got += await subscription.receive(count - len(got))
    return got


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Return once `condition` holds at the server, which tells nobody."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0.02)


async def end(subscription: Subscription, deliveries: Sequence[Delivery], outcome: Outcome = ACKED) -> None:
    """Settle deliveries that are ours."""
    settlements = await subscription.settle([Settled(each, outcome) for each in deliveries])
    assert [Settlement.DONE] * len(deliveries) == list(settlements)
