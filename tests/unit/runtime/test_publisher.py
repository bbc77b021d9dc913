import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pabal import CapabilityError, Channel, CodecError, ConfigurationError, Message, Outgoing
from pabal.model.address import Address
from pabal.model.capabilities import Capabilities
from pabal.model.clock import VirtualClock, utc
from pabal.model.codec import JsonCodec
from pabal.model.transport import GroupId, Post, Receipt
from pabal.runtime.publisher import Publisher
from pabal.transports.memory import MemoryTransport
from tests.unit.runtime.values import message

CLOCK = VirtualClock()
GROUP = GroupId("a", "g")


def publisher(*, delays: bool = False) -> Publisher:
    return Publisher(
        None,  # type: ignore[arg-type]  # nothing is published here
        Capabilities(delays_publish=delays),
        name="shop",
        codec=JsonCodec(),
        clock=CLOCK,
        unrouted="drop",
        box=None,
    )


def derive(sent: Message, *, cause: str = "m", by: GroupId = GROUP, ordinals: dict[bytes, int] | None = None) -> str:
    return publisher().derived(sent, cause, by, {} if ordinals is None else ordinals).id


KEYS = st.none() | st.text(min_size=1, max_size=5)
HEADERS = st.dictionaries(st.sampled_from(["a", "b", "ab"]), st.sampled_from(["", "a", "b", "ab"]))
OUTPUTS = st.builds(
    lambda channel, key, headers, body: message(channel=channel, key=key, headers=headers, body=body),
    st.sampled_from(["a", "b", "a.b"]),
    KEYS.filter(lambda key: key is None or key.isprintable()),
    HEADERS,
    st.binary(max_size=5),
)


@given(first=OUTPUTS, second=OUTPUTS)
def test_derived_ids_tell_outputs_apart(first: Message, second: Message) -> None:
    """Two outputs of one handling have one id only if channel, key, headers and body are the same."""
    same = (first.channel, first.key, first.headers, first.body) == (
        second.channel,
        second.key,
        second.headers,
        second.body,
    )
    assert (derive(first) == derive(second)) == same


@given(outputs=st.lists(OUTPUTS, max_size=10))
def test_derived_ids_are_the_same_in_a_retry(outputs: list[Message]) -> None:
    """A handler that is tried again gives its outputs their ids again, equal outputs one each."""
    attempts = []
    for _ in range(2):
        ordinals: dict[bytes, int] = {}
        attempts.append([derive(output, ordinals=ordinals) for output in outputs])
    assert attempts[0] == attempts[1]
    assert len(set(attempts[0])) == len(outputs)


def test_order_of_headers_does_not_matter() -> None:
    """Headers are a mapping: their order makes no other message."""
    assert derive(message(headers={"a": "1", "b": "2"})) == derive(message(headers={"b": "2", "a": "1"}))


def test_derived_ids_tell_causes_and_groups_apart() -> None:
    """Another cause, another group and the same group's name on another source give other ids."""
    sent = message()
    ids = [
        derive(sent),
        derive(sent, cause="n"),
        derive(sent, by=GroupId("a", "h")),
        derive(sent, by=GroupId("a.>", "g")),
    ]
    assert len(set(ids)) == 4


def test_derived_id_is_a_uuid() -> None:
    """A derived id is a UUID of version 8 (RFC 9562)."""
    parsed = uuid.UUID(derive(message()))
    assert (parsed.version, parsed.variant) == (8, uuid.RFC_4122)


def test_message_of_a_value() -> None:
    """A message carries the bus's name, the channel as its type, the time, and no history of its own."""
    made = publisher().message(Channel("a.b", int), 7, key="k", headers={"x": "y"}, expires=5, id="mine")
    now = utc(CLOCK.time())
    assert made == Message(
        id="mine",
        channel="a.b",
        body=b"7",
        key="k",
        headers={"x": "y"},
        content_type="application/json",
        type="a.b",
        source="shop",
        time=now,
        expires=now + timedelta(seconds=5),
    )


def test_conversation() -> None:
    """Causation names the message before, correlation the first of all."""
    first = publisher().message("a", 1)
    second = publisher().message("b", 1, cause=first)
    third = publisher().message("c", 1, cause=second)
    assert (first.correlation_id, first.causation_id) == (None, None)
    assert (second.correlation_id, second.causation_id) == (first.id, first.id)
    assert (third.correlation_id, third.causation_id) == (first.id, second.id)


def test_headers_are_copied() -> None:
    """Changing the dict afterwards does not change the message."""
    headers = {"a": "1"}
    made = publisher().message("a", 1, headers=headers)
    headers["a"] = "2"
    assert made.headers == {"a": "1"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": "a.*"},
        {"channel": "a b"},
        {"channel": 7},
        {"key": ""},
        {"key": 7},
        {"key": "x" * 201},
        {"key": "a\nb"},
        {"key": "\ud800"},
        {"headers": {"ce-id": "1"}},
        {"headers": {"ce_id": "1"}},
        {"headers": {"Pabal-x": "1"}},
        {"headers": {"nats-x": "1"}},
        {"headers": {"a b": "1"}},
        {"headers": {"a": 1}},
        {"headers": {"a": "x\n"}},
        {"headers": {"a": " x"}},
        {"expires": -1},
        {"expires": float("nan")},
        {"expires": "soon"},
        {"id": ""},
        {"id": "x" * 201},
        {"id": 7},
    ],
    ids=str,
)
def test_wrong_options(wrong: dict[str, Any]) -> None:
    """What no transport could keep as it is, is refused before it is sent."""
    with pytest.raises(ConfigurationError):
        publisher().message(**{"channel": "a", "value": 1, **wrong})


@pytest.mark.parametrize("value", [object(), {1, object()}, "\ud800", [b"", object]])
def test_values_that_cannot_be_sent(value: object) -> None:
    """A value that is no JSON, text or bytes is a CodecError."""
    with pytest.raises(CodecError):
        publisher().message("a", value)


VALUES = st.one_of(
    st.none(), st.integers(-9, 9), st.text(max_size=3), st.binary(max_size=3), st.lists(st.booleans(), max_size=2)
)


@given(values=st.lists(VALUES | VALUES.map(Outgoing), max_size=8))
async def test_a_batch_publishes_what_each_value_would_be(values: list[Any]) -> None:
    """However types and options are mixed, each message is the one that its value makes alone."""
    sent: list[Post] = []

    class Collecting(MemoryTransport):
        async def publish(self, posts: Sequence[Post], /) -> Sequence[Receipt]:
            sent.extend(posts)
            return await super().publish(posts)

    transport = Collecting(Address("memory://"), clock=CLOCK)
    can = await transport.open()
    batch = Publisher(transport, can, name="shop", codec=JsonCodec(), clock=CLOCK, unrouted="drop", box=None)
    receipts = await batch.publish_many("a", values, timeout=1.0)
    alone = [publisher().message("a", value.value if isinstance(value, Outgoing) else value) for value in values]
    assert [receipt.id for receipt in receipts] == [post.message.id for post in sent]
    assert alone == [replace(post.message, id=one.id) for post, one in zip(sent, alone, strict=True)]


@pytest.mark.parametrize("first", [1, "text"])
async def test_a_value_within_a_batch_that_cannot_be_sent(first: object) -> None:
    """It is a CodecError that names its type, as it would be alone, and nothing is sent."""
    with pytest.raises(CodecError, match="a dict cannot be sent"):
        await publisher().publish_many("a", [first, {"a": "\ud800"}], timeout=1.0)


@pytest.mark.parametrize("wrong", [-1, float("inf"), "soon", None])
async def test_wrong_timeout(wrong: Any) -> None:
    """A timeout is seconds."""
    with pytest.raises(ConfigurationError, match="timeout is seconds"):
        await publisher().publish(message(), delay=None, timeout=wrong)


async def test_delay_is_refused_where_nothing_delays() -> None:
    """A delay that the transport cannot keep is refused, not dropped."""
    with pytest.raises(CapabilityError, match="cannot delay"):
        await publisher().publish(message(), delay=1.0, timeout=1.0)


@pytest.mark.parametrize("wrong", [-1, float("nan"), "soon"])
async def test_wrong_delay(wrong: Any) -> None:
    """A delay is seconds from now."""
    with pytest.raises(ConfigurationError, match="delay is seconds"):
        await publisher(delays=True).publish(message(), delay=wrong, timeout=1.0)
