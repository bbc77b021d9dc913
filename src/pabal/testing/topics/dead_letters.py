"""Dead letters: kept as they were, found again, sent again to whom they were meant for."""

from __future__ import annotations

from datetime import timedelta

from pabal.model.dead import DeadLetter, Edit
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Reason, Rejected, Retried
from pabal.model.transport import Transport
from pabal.testing.broken import expect, expect_each_once, expect_that
from pabal.testing.promise import SETTLES_EACH, has, lacks, promise
from pabal.testing.stage import Reader, Stage, ids, parks


async def _rejected(stage: Stage, transport: Transport, reader: Reader, messages: list[Message]) -> list[DeadLetter]:
    """The dead letters of messages that the reader's group rejected."""
    await stage.publish(transport, messages)
    got = await reader.take(len(messages))
    await reader.done(got, Rejected("rejected", stage.failure(1, "never")))
    letters = await stage.letters(transport, reader.channel)
    expect_each_once([letter.message.id for letter in letters], ids(messages), "the dead letters")
    return letters


@promise(has("parks", "groups"), SETTLES_EACH)
async def rejected_is_parked_with_its_history(stage: Stage) -> None:
    """A rejected message is a dead letter when settle returns: as it was published, with reason, group and failures."""
    transport, channel = await stage.connect(), stage.channel("dead")
    reader = await stage.subscribe(transport, channel, "strict")
    message = stage.message(channel, b"\x00\xff", key="k", headers={"trace": "x"}, expires=stage.now())
    await stage.publish(transport, [message])
    failures = [stage.failure(attempt, f"failure {attempt}") for attempt in (1, 2, 3)]
    for failure in failures[:2]:
        await reader.done([await reader.one()], Retried(0.0, failure))
    await reader.done([await reader.one()], Rejected("exhausted", failures[2]))
    letters = await stage.letters(await stage.connect(), channel)
    expect(len(letters), 1, "the number of dead letters")
    letter = letters[0]
    expect(letter.message, message, "the message of the dead letter")
    expect((letter.reason, letter.source, letter.group), ("exhausted", channel, "strict"), "reason, source and group")
    expect(letter.redrives, 0, "the redrives")
    since = stage.now() - letter.parked
    expect_that(abs(since) < timedelta(seconds=1), "the letter to say that it was parked just now", since)
    if stage.capabilities.keeps_history:
        expect(list(letter.attempts), failures, "the failed attempts")


@promise(has("parks"))
async def letters_are_found(stage: Stage) -> None:
    """Dead letters are listed oldest first, each with an id of its own, by id, message, channel, group and reason."""
    transport, here, there = await stage.connect(), stage.channel("here"), stage.channel("there")
    given: list[DeadLetter] = []
    reasons: tuple[Reason, ...] = ("rejected", "exhausted")
    for number in range(12):
        channel = (here, there)[number % 2]
        group = ("one", "two", "three")[number % 3]
        letter = DeadLetter(
            id="given anew",
            message=stage.message(channel, b"x"),
            reason=reasons[number % 4 // 2],
            source=channel,
            group=group,
            parked=stage.now(),
        )
        given.append(letter)
        await parks(transport).park([letter])
        await stage.pass_time(0.01)
    other = await stage.connect()
    listed = [letter for letter in await stage.letters(other) if letter.message.channel in (here, there)]
    expect(
        [letter.message.id for letter in listed], [letter.message.id for letter in given], "the order of the letters"
    )
    expect(len({letter.id for letter in listed}), 12, "the number of different ids")
    filters: list[tuple[str, str | None, Reason | None]] = [
        (here, None, None),
        (here, "one", None),
        (there, "two", "exhausted"),
        (here, None, "rejected"),
        (there, "nobody", None),
    ]
    for where, whose, reason in filters:
        fits = [
            letter.message.id
            for letter in given
            if letter.message.channel == where and whose in (None, letter.group) and reason in (None, letter.reason)
        ]
        found = await stage.letters(other, where, group=whose, reason=reason)
        expect([letter.message.id for letter in found], fits, f"the letters of group {whose} with reason {reason}")
    some = [listed[number].id for number in (1, 5, 7)]
    expect([letter.id for letter in await stage.letters(other, ids=[*some, "unknown"])], some, "the letters by id")
    found = await stage.letters(other, message_id=given[5].message.id)
    expect([letter.id for letter in found], [listed[5].id], "the letters of one message")


@promise(has("parks"))
async def parked_letter_is_kept_whole(stage: Stage) -> None:
    """A letter that was parked is listed as it was given, but for its id."""
    transport, channel = await stage.connect(), stage.channel("parked")
    message = stage.message(
        channel,
        "파발".encode(),
        key="k",
        headers={"a": "b"},
        content_type="text/plain",
        correlation_id="c",
        causation_id="d",
        expires=stage.now(),
        attributes={"subject": "s"},
    )
    failures = tuple(stage.failure(attempt, f"failure {attempt}") for attempt in (1, 2, 3))
    letter = DeadLetter(
        id="given anew",
        message=message,
        reason="abandoned",
        source=channel,
        group="g",
        attempts=failures,
        parked=stage.now(),
        redrives=2,
        edits=(Edit(time=stage.now(), by="somebody", body=b"\x00\xff", headers={"a": "c"}, content_type=None),),
    )
    await parks(transport).park([letter])
    letters = await stage.letters(await stage.connect(), channel)
    expect(len(letters), 1, "the number of dead letters")
    for field in DeadLetter.__struct_fields__:
        if field != "id":
            expect(getattr(letters[0], field), getattr(letter, field), f"{field} of the letter")
    expect_that(letters[0].id not in ("", "given anew"), "an id given anew", letters[0].id)


@promise(has("parks", "groups"), SETTLES_EACH)
async def redrive_reaches_the_group_that_failed(stage: Stage) -> None:
    """A redrive reaches the group that failed and no other: same message, first attempt, counted, its letter gone."""
    transport, channel = await stage.connect(), stage.channel("redriven")
    strict = await stage.subscribe(transport, channel, "strict")
    lenient = await stage.subscribe(transport, channel, "lenient")
    messages = stage.messages(channel, 3, key="k")
    letters = await _rejected(stage, transport, strict, messages)
    expect_each_once(ids(await lenient.handle(3)), ids(messages), "what the other group gets")
    for redrive in (1, 2):
        await stage.pass_time(1.0)
        results = await parks(await stage.connect()).redrive([letter.id for letter in letters])
        expect(
            [(r.id, r.message_id, r.error) for r in results],
            [(x.id, x.message.id, None) for x in letters],
            "the results of the redrive",
        )
        expect(await stage.letters(transport, channel), [], "the dead letters after the redrive")
        got = await strict.take(3)
        for delivery in got:
            expect(delivery.message, {m.id: m for m in messages}.get(delivery.message.id), "the redriven message")
        expect({(delivery.attempt, delivery.redrive) for delivery in got}, {(1, redrive)}, "attempt and redrive")
        await strict.done(got, Rejected("rejected", stage.failure(1, "still never")))
        letters = await stage.letters(transport, channel)
        expect({letter.redrives for letter in letters}, {redrive}, "the redrives of the letters that came back")
    await stage.expect_nothing_else(transport, strict, lenient)


@promise(has("parks", "groups"), SETTLES_EACH)
async def redrive_takes_the_chosen(stage: Stage) -> None:
    """Redriving some leaves the others; an unknown id is said to be unknown; each letter is sent once."""
    transport, channel = await stage.connect(), stage.channel("chosen")
    reader = await stage.subscribe(transport, channel, "strict")
    letters = await _rejected(stage, transport, reader, stage.messages(channel, 6))
    chosen = [letters[1], letters[4]]
    results = await parks(transport).redrive([chosen[0].id, "unknown", chosen[1].id])
    expect([result.id for result in results], [chosen[0].id, "unknown", chosen[1].id], "the ids of the results")
    expect([result.message_id for result in results], [chosen[0].message.id, None, chosen[1].message.id], "message ids")
    expect_that(results[1].error is not None, "an error for an unknown letter", results[1])
    again = await parks(transport).redrive([chosen[0].id])
    expect_that(again[0].error is not None, "an error for a letter that was redriven already", again[0])
    expect_each_once(ids(await reader.handle(2)), [letter.message.id for letter in chosen], "what is redriven")
    await stage.expect_nothing_else(transport, reader)
    left = await stage.letters(transport, channel)
    expect([letter.id for letter in left], [x.id for x in letters if x not in chosen], "the letters that stay")


@promise(has("parks", "groups", "detects_unrouted"), SETTLES_EACH)
async def unrouted_redrive_goes_to_all_there_are(stage: Stage) -> None:
    """An unrouted letter stays, and says so, while nobody is there to get it; later it goes to all groups there are."""
    transport, channel = await stage.connect(), stage.channel("nobody")
    messages = stage.messages(channel, 1)
    await stage.publish(transport, messages)
    letters = await stage.letters(transport, channel)
    expect([letter.message.id for letter in letters], ids(messages), "the unrouted letters")
    results = await parks(transport).redrive([letters[0].id])
    expect_that(results[0].error is not None, "an error while nobody is there", results[0])
    expect(await stage.letters(transport, channel), letters, "the letters while nobody is there")
    readers = [await stage.subscribe(transport, channel, group) for group in ("save", "audit")]
    results = await parks(transport).redrive([letters[0].id])
    expect(results[0].error, None, "the error once groups are there")
    if stage.capabilities.counts_receivers:
        expect(results[0].receivers, 2, "the receivers of the redrive")
    expect(await stage.letters(transport, channel), [], "the letters after the redrive")
    for reader in readers:
        got = await reader.take(1)
        expect(got[0].message, messages[0], "the redriven message")
        expect(got[0].redrive, 1, "the redrive")
        await reader.done(got, ACKED)
    await stage.expect_nothing_else(transport, *readers)


@promise(has("parks"))
async def discarded_is_gone(stage: Stage) -> None:
    """Discarding deletes the chosen letters and no others, and tells how many there were."""
    transport, channel = await stage.connect(), stage.channel("discarded")
    await parks(transport).park(
        [
            DeadLetter(id="", message=each, reason="rejected", source=channel, group="g", parked=stage.now())
            for each in stage.messages(channel, 5)
        ]
    )
    letters = await stage.letters(transport, channel)
    gone = [letters[0].id, letters[3].id]
    expect(await parks(await stage.connect()).discard([*gone, "unknown"]), 2, "how many were discarded")
    left = await stage.letters(transport, channel)
    expect([letter.id for letter in left], [x.id for x in letters if x.id not in gone], "the letters that stay")
    expect(await parks(transport).discard(gone), 0, "how many were discarded the second time")


@promise(lacks("parks"))
async def dead_letters_are_absent(stage: Stage) -> None:
    """A transport that does not declare parks has none of its methods."""
    transport = await stage.connect()
    there = [
        name
        for name in ("park", "letters", "causes", "redrive", "pending", "edit", "discard")
        if hasattr(transport, name)
    ]
    expect(there, [], "the methods of an undeclared Protocol")
