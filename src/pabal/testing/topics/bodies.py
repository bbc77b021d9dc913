"""What is published is what arrives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pabal.model.message import Message
from pabal.testing.broken import expect, expect_each_once
from pabal.testing.promise import has, promise
from pabal.testing.stage import Reader, Stage, ids

_BODIES = (b"", b"{}", "물결 — ünï¢ødé".encode(), bytes(range(256)), b"line\r\nline\n", b"\x00", b"x" * 20_000)
_FIELDS: tuple[dict[str, Any], ...] = (
    {},
    {"key": "user-7", "content_type": "application/json"},
    {"key": "열쇠 / key", "content_type": "text/plain; charset=utf-8"},
    {"headers": {"trace": "abc", "X-Unicode": "pábal 파발", "empty": "", "percent": '100% %41 a=b;c,d "q"'}},
    {"correlation_id": "first-of-all", "causation_id": "the-one-before", "source": "shop/누구"},
    {"type": "com.example.order.placed", "attributes": {"subject": "order 7", "dataschema": "https://example.com/s"}},
    {"headers": {"a": "1", "b": "2"}, "content_type": "application/octet-stream", "key": "k"},
)


def _samples(stage: Stage, channel: str) -> list[Message]:
    samples = []
    for number in range(100):
        fields = dict(_FIELDS[number % len(_FIELDS)])
        fields["time"] = stage.now() - timedelta(seconds=number, microseconds=number * 1001)
        if number % 3 == 0:
            fields["expires"] = stage.now() + timedelta(days=1, seconds=number, microseconds=7)
        if number % 10 == 9:
            fields["id"] = f"own id {number} / ünique-{stage.channel('id')}"
        samples.append(stage.message(channel, _BODIES[number % len(_BODIES)], **fields))
    return samples


async def _arrive_intact(reader: Reader, samples: list[Message]) -> None:
    got = await reader.handle(len(samples))
    expect_each_once(ids(got), ids(samples), "the messages")
    arrived = {delivery.message.id: delivery.message for delivery in got}
    for sample in samples:
        for field in Message.__struct_fields__:
            sent, came = getattr(sample, field), getattr(arrived[sample.id], field)
            if field in ("headers", "attributes"):
                sent, came = dict(sent), dict(came)
            expect(came, sent, f"{field} of message {sample.id!r}")


@promise(has("groups"))
async def message_reaches_group_intact(stage: Stage) -> None:
    """A group gets a message as it was published: id, body, key, headers, content type, times, expiry, conversation."""
    transport, channel = await stage.connect(), stage.channel("intact")
    reader = await stage.subscribe(await stage.connect(), channel, "readers")
    samples = _samples(stage, channel)
    await stage.publish(transport, samples)
    await _arrive_intact(reader, samples)


@promise(has("broadcast"))
async def message_reaches_listener_intact(stage: Stage) -> None:
    """A listener gets a message as it was published, whatever it carries."""
    transport, channel = await stage.connect(), stage.channel("intact")
    reader = await stage.subscribe(await stage.connect(), channel)
    samples = _samples(stage, channel)
    await stage.publish(transport, samples)
    await _arrive_intact(reader, samples)


@promise(has("groups", "settles"))
async def returned_message_is_intact(stage: Stage) -> None:
    """A message that was given back comes again as it was published."""
    transport, channel = await stage.connect(), stage.channel("again")
    reader = await stage.subscribe(transport, channel, "readers", window=200)
    samples = _samples(stage, channel)
    await stage.publish(transport, samples)
    await reader.take(len(samples))
    await reader.close()
    await _arrive_intact(await stage.subscribe(transport, channel, "readers", window=200), samples)
