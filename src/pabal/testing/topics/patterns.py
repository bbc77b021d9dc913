"""Patterns: a star stands for one token, a last > for one or more."""

from __future__ import annotations

from pabal.model.errors import CapabilityError
from pabal.model.transport import Source
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import has, lacks, promise
from pabal.testing.stage import Stage, ids, raised

_CHANNELS = ("a", "a.b", "a.c", "a.b.c", "a.x.c", "a.b.c.d", "b.b", "ab", "a_b.c", "a-b", "a.bb")
_TABLE = {
    "a.*": ("a.b", "a.c", "a.bb"),
    "*.b": ("a.b", "b.b"),
    "a.>": ("a.b", "a.c", "a.b.c", "a.x.c", "a.b.c.d", "a.bb"),
    "a.*.c": ("a.b.c", "a.x.c"),
    "a.*.>": ("a.b.c", "a.x.c", "a.b.c.d"),
    "*": ("a", "ab", "a-b"),
    "a.b": ("a.b",),
}


async def _takes_what_it_means(stage: Stage, group: str | None) -> None:
    transport, other = await stage.connect(), await stage.connect()
    for number, (pattern, taken) in enumerate(_TABLE.items()):
        prefix = stage.channel(f"p{number}")
        reader = await stage.subscribe(transport, f"{prefix}.{pattern}", group)
        messages = {name: stage.message(f"{prefix}.{name}") for name in _CHANNELS}
        receipts = await stage.publish(other, list(messages.values()), park=False)
        for name, receipt in zip(messages, receipts, strict=True):
            if stage.capabilities.counts_receivers:
                expect(receipt.receivers, int(name in taken), f"the receivers of {name} where {pattern} is read")
            if stage.capabilities.detects_unrouted:
                expect(receipt.routed, name in taken, f"routed of {name} where {pattern} is read")
        got = await reader.handle(len(taken))
        expect_each_once(
            [f"{each.message.channel} {each.message.id}" for each in got],
            [f"{prefix}.{name} {messages[name].id}" for name in taken],
            f"what {pattern} takes",
        )
        await stage.expect_nothing_else(other, reader, channel=f"{prefix}.{taken[0]}")
        await reader.close()


@promise(has("patterns", "groups"))
async def groups_take_patterns(stage: Stage) -> None:
    """A group on a pattern gets the channels that it means, none shorter, longer or similar."""
    await _takes_what_it_means(stage, "readers")


@promise(has("patterns", "broadcast"))
async def listeners_take_patterns(stage: Stage) -> None:
    """A listener to a pattern gets a copy of what the pattern means and nothing else."""
    await _takes_what_it_means(stage, None)


@promise(has("patterns", "groups"))
async def overlapping_patterns_are_groups_of_their_own(stage: Stage) -> None:
    """One group name on a channel and on two patterns that cover it are three groups: each gets the message once."""
    transport, prefix = await stage.connect(), stage.channel("p")
    readers = [await stage.subscribe(transport, f"{prefix}.{source}", "same") for source in ("a.b", "a.*", ">")]
    messages = stage.messages(f"{prefix}.a.b", 10)
    await stage.publish(transport, messages)
    for reader in readers:
        expect_each_once(ids(await reader.handle(10)), ids(messages), f"what the group on {reader.channel} gets")
    await stage.expect_nothing_else(transport, *readers, channel=f"{prefix}.a.b")


@promise(lacks("patterns"))
async def pattern_is_refused(stage: Stage) -> None:
    """A transport without patterns refuses a subscription to one."""
    transport = await stage.connect()
    source = Source(f"{stage.channel('p')}.*.x", "readers" if stage.capabilities.groups else None)
    error = await raised(transport.subscribe, source)
    expect_that(isinstance(error, CapabilityError), "subscribing to a pattern to raise CapabilityError", error)
