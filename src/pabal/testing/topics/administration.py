"""Groups as an operator sees and removes them."""

from __future__ import annotations

from pabal.model.errors import ConfigurationError
from pabal.model.outcome import ACKED, Retried
from pabal.model.transport import GroupId, GroupStatus, Transport
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, lacks, promise
from pabal.testing.stage import Stage, administers, examines, ids, raised


async def _status(stage: Stage, transport: Transport, group: GroupId) -> GroupStatus | None:
    async with stage.within("groups() to return"):
        found = [
            each
            for each in await administers(transport).groups()
            if (each.source, each.name) == (group.source, group.name)
        ]
    expect_that(len(found) <= 1, f"{group} to be listed once", len(found))
    return found[0] if found else None


@promise(has("administers", "groups"), SETTLES_EACH)
async def groups_are_listed(stage: Stage) -> None:
    """A group is listed with how much is ready, waiting and leased, its oldest message and its living members."""
    transport, channel = await stage.connect(), stage.channel("listed")
    group = GroupId(channel, "save")
    expect(await _status(stage, transport, group), None, "a group that there is not")
    reader = await stage.subscribe(transport, channel, "save", window=1)
    member = await stage.subscribe(await stage.connect(), channel, "save", window=1)
    status = await _status(stage, transport, group)
    expect_that(status is not None and status.members == 2, "two members", status)
    await member.close()
    await reader.close()
    messages = stage.messages(channel, 10)
    await stage.publish(transport, messages)
    status = await _status(stage, await stage.connect(), group)
    expected = GroupStatus(source=channel, name="save", ready=10, oldest=messages[0].time)
    expect(status, expected, "a group with a backlog and no member")
    reader = await stage.subscribe(transport, channel, "save", window=10)
    got = await reader.take(10)
    status = await _status(stage, transport, group)
    expected = GroupStatus(source=channel, name="save", leased=10, oldest=messages[0].time, members=1)
    expect(status, expected, "a group whose messages are all in hand")
    await reader.done(got[:4], ACKED)
    await reader.done(got[4:7], Retried(60.0) if stage.capabilities.delays_retry else ACKED)
    await reader.close()
    status = await _status(stage, transport, group)
    expect_that(
        status is not None and (status.ready, status.leased, status.members) == (3, 0, 0),
        "three ready, none leased, no member",
        status,
    )
    if stage.capabilities.delays_retry:
        expect(status and status.waiting, 3, "how many wait for their retry")


@promise(has("administers", "groups"), SETTLES_EACH)
async def removed_group_leaves_dead_letters(stage: Stage) -> None:
    """Removing a group turns its backlog into dead letters and tells how many; other groups keep theirs."""
    transport, channel = await stage.connect(), stage.channel("removed")
    for name in ("going", "staying"):
        await (await stage.subscribe(transport, channel, name)).close()
    messages = stage.messages(channel, 5)
    await stage.publish(transport, messages)
    expect(await administers(await stage.connect()).remove(GroupId(channel, "going")), 5, "the size of the backlog")
    expect(await _status(stage, transport, GroupId(channel, "going")), None, "the group that was removed")
    if stage.capabilities.parks:
        letters = await stage.letters(transport, channel)
        expect_each_once([letter.message.id for letter in letters], ids(messages), "the dead letters")
        expect({(letter.reason, letter.group) for letter in letters}, {("removed", "going")}, "reason and group")
    reader = await stage.subscribe(transport, channel, "staying")
    expect_each_once(ids(await reader.handle(5)), ids(messages), "what the other group gets")


@promise(has("administers", "groups"), SETTLES_EACH)
async def discarded_group_leaves_nothing(stage: Stage) -> None:
    """Removing a group with discard leaves no dead letter; a group of that name later begins anew."""
    transport, channel = await stage.connect(), stage.channel("removed")
    await (await stage.subscribe(transport, channel, "going")).close()
    await stage.publish(transport, stage.messages(channel, 5))
    expect(await administers(transport).remove(GroupId(channel, "going"), discard=True), 5, "the size of the backlog")
    if stage.capabilities.parks:
        expect(await stage.letters(transport, channel), [], "the dead letters")
    if stage.capabilities.detects_unrouted:
        receipts = await stage.publish(transport, stage.messages(channel, 1), park=False)
        expect(receipts[0].routed, False, "routed after the only group was removed")
    reader = await stage.subscribe(transport, channel, "going")
    await stage.expect_nothing_else(transport, reader)


@promise(has("administers", "groups"), SETTLES_EACH)
async def living_or_unknown_group_is_not_removed(stage: Stage) -> None:
    """Removing a group that has living members, or that there is not, raises ConfigurationError and changes nothing."""
    transport, channel = await stage.connect(), stage.channel("living")
    reader = await stage.subscribe(transport, channel, "living")
    messages = stage.messages(channel, 3)
    await stage.publish(transport, messages)
    other = administers(await stage.connect())
    for group in (GroupId(channel, "living"), GroupId(channel, "unknown"), GroupId(stage.channel("x"), "living")):
        error = await raised(other.remove, group)
        expect_that(isinstance(error, ConfigurationError), f"removing {group} to raise ConfigurationError", error)
    expect_each_once(ids(await reader.handle(3)), ids(messages), "what the living group gets")


@promise(has("examines"))
async def findings_are_told(stage: Stage) -> None:
    """The findings say what the server is; one that keeps nothing across a restart says so as a weakness."""
    transport = await stage.connect()
    findings = await examines(transport).findings()
    expect_that(len(findings) > 0 and all(finding.text for finding in findings), "findings with a text", findings)
    if not stage.capabilities.durable:
        weak = [finding for finding in findings if finding.level != "ok"]
        expect_that(len(weak) > 0, "a finding that this is not durable", findings)


@promise(lacks("administers"))
async def administration_is_absent(stage: Stage) -> None:
    """A transport that does not declare administers has none of its methods."""
    transport = await stage.connect()
    there = [name for name in ("groups", "remove") if hasattr(transport, name)]
    expect(there, [], "the methods of an undeclared Protocol")


@promise(lacks("examines"))
async def examination_is_absent(stage: Stage) -> None:
    """A transport that does not declare examines has none of its methods."""
    transport = await stage.connect()
    expect(hasattr(transport, "findings"), False, "the method of an undeclared Protocol")
