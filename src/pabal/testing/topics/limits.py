"""Limits: what is too large is refused by name, and nothing else suffers for it."""

from __future__ import annotations

from pabal.model.errors import MessageTooLarge
from pabal.model.transport import Post
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import has, promise
from pabal.testing.stage import Stage, ids

SMALL = 10_000
LARGE = 1_000_000


@promise(has("groups", "max_body"))
async def body_limit_is_exact(stage: Stage) -> None:
    """A body of exactly the limit is taken, one byte more is MessageTooLarge in its receipt, the others are taken."""
    transport, channel = await stage.connect(max_body=SMALL), stage.channel("limit")
    limit = stage.capabilities.max_body
    expect_that(limit is not None, "a transport that was asked for a limit to declare one", stage.capabilities)
    reader = await stage.subscribe(transport, channel, "readers")
    fits, exceeds, after = (stage.message(channel, b"x" * size) for size in (limit or 0, (limit or 0) + 1, 1))
    receipts = await transport.publish([Post(fits), Post(exceeds), Post(after)])
    expect([receipt.id for receipt in receipts], ids([fits, exceeds, after]), "the receipts' ids")
    expect([receipt.error for receipt in receipts][::2], [None, None], "the errors of what fits")
    error = receipts[1].error
    expect_that(isinstance(error, MessageTooLarge), "MessageTooLarge for one byte too many", error)
    got = await reader.handle(2)
    expect_each_once(ids(got), ids([fits, after]), "what is delivered")
    expect({len(delivery.message.body) for delivery in got}, {limit, 1}, "the sizes of what is delivered")
    await stage.expect_nothing_else(transport, reader)


@promise(has("groups"))
async def large_body_arrives(stage: Stage) -> None:
    """A body of a million bytes, or of the limit where that is lower, arrives whole."""
    transport, channel = await stage.connect(), stage.channel("large")
    size = min(stage.capabilities.max_body or LARGE, LARGE)
    reader = await stage.subscribe(transport, channel, "readers")
    message = stage.message(channel, bytes(number * 7 % 251 for number in range(size)))
    await stage.publish(transport, [message])
    got = await reader.handle(1)
    expect_that(got[0].message.body == message.body, f"the {size} bytes that were sent", len(got[0].message.body))
