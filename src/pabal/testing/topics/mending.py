"""Dead letters looked through, mended, and read after they were sent again."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

from msgspec.structs import replace

from pabal.model.dead import Cause, Change, DeadLetter, LetterFilter, tally
from pabal.model.errors import MessageTooLarge
from pabal.model.message import Message
from pabal.model.outcome import ACKED, Reason, Rejected
from pabal.model.transport import Transport
from pabal.testing.broken import expect, expect_that
from pabal.testing.promise import SETTLES_EACH, has, promise
from pabal.testing.stage import Reader, Stage, ids, parks, raised

_CAUSES = ("", "ValueError", "ValueError at a.py:1 f", "ValueError at a.py:12 f", "ValueErrors at a.py:1 f", "Value")


async def _parked(stage: Stage, transport: Transport, channel: str) -> list[DeadLetter]:
    """A letter for each cause and reason, a second apart, as they are listed."""
    reasons: tuple[Reason, ...] = ("rejected", "exhausted")
    for reason, cause in product(reasons, _CAUSES):
        last = replace(stage.failure(2, "again"), cause=cause)
        letter = DeadLetter(
            id="given anew",
            message=stage.message(channel, b"x"),
            reason=reason,
            source=channel,
            group="g",
            attempts=(stage.failure(1, "before"), last) if cause else (),
            parked=stage.now(),
        )
        await parks(transport).park([letter])
        await stage.pass_time(0.01)
    return await stage.letters(transport, channel)


@promise(has("parks"))
async def letters_are_found_by_cause_and_time(stage: Stage) -> None:
    """Dead letters are found by what the last attempt failed of, with its place or without, and by when they died."""
    transport, channel = await stage.connect(), stage.channel("looked.through")
    letters = await _parked(stage, transport, channel)
    expect(len(letters), 2 * len(_CAUSES), "the number of letters")
    since, until = letters[3].parked, letters[8].parked
    asked = [LetterFilter(channel=channel, cause=cause) for cause in (*_CAUSES, "ValueError at a.py:1", "nothing")]
    asked += [
        LetterFilter(channel=channel, since=since),
        LetterFilter(channel=channel, until=until),
        LetterFilter(channel=channel, since=since, until=until, cause="ValueError", reason="exhausted"),
        LetterFilter(channel=channel, since=until, until=since),
    ]
    for wanted in asked:
        found = [letter.id async for letter in parks(transport).letters(wanted)]
        expect(found, [letter.id for letter in letters if wanted.fits(letter)], f"the letters of {wanted}")


@promise(has("parks"))
async def letters_are_counted_by_cause(stage: Stage) -> None:
    """Dead letters are counted by reason, channel, group and cause, with the times of the oldest and newest of each."""
    transport, channel = await stage.connect(), stage.channel("counted")
    first, *_ = await _parked(stage, transport, channel)
    await parks(transport).park([replace(first, group=None)])
    await _parked(stage, transport, channel)
    letters = await stage.letters(transport, channel)
    for wanted in (
        LetterFilter(channel=channel),
        LetterFilter(channel=channel, reason="exhausted", cause="ValueError"),
        LetterFilter(channel=channel, since=letters[2].parked, until=letters[15].parked),
        LetterFilter(channel=channel, group="nobody"),
    ):
        found = {_kind(each): each for each in await parks(transport).causes(wanted)}
        meant = {_kind(each): each for each in tally(filter(wanted.fits, letters))}
        expect(found, meant, f"the causes of {wanted}")


def _kind(cause: Cause) -> tuple[Reason, str, str | None, str]:
    return cause.reason, cause.channel, cause.group, cause.cause


@promise(has("parks", "groups"), SETTLES_EACH)
async def edited_letter_keeps_what_was(stage: Stage) -> None:
    """An edited letter is redriven as it was changed, its id and time kept; what was there before can still be read."""
    transport, channel = await stage.connect(), stage.channel("edited")
    reader = await stage.subscribe(transport, channel, "strict")
    message = stage.message(
        channel, b"\x00bad", key="k", headers={"keep": "1", "set": "2", "drop": "3"}, content_type="text/plain"
    )
    (letter,) = await _dead(stage, transport, reader, message)
    first = Change(
        time=stage.now(), by="somebody", body=b"{}", content_type="application/json", headers={"set": "4", "drop": None}
    )
    second = Change(time=stage.now() + timedelta(seconds=1), headers={"new": "5"})
    changed, edit = first.apply(message)
    again, another = second.apply(changed)
    other = await stage.connect()
    expect(
        await parks(other).edit(letter.id, first), replace(letter, message=changed, edits=(edit,)), "the edited letter"
    )
    edited = replace(letter, message=again, edits=(edit, another))
    expect(await parks(other).edit(letter.id, second), edited, "the letter after the second edit")
    expect(await stage.letters(transport, channel), [edited], "the letters after the edits")
    expect(await parks(other).edit("unknown", first), None, "the edit of an unknown letter")
    if stage.capabilities.max_body is not None:
        small = await stage.connect(max_body=100)
        most = stage.capabilities.max_body or 100
        too_large = Change(time=stage.now(), body=b"x" * (most + 1))
        error = await raised(parks(small).edit, letter.id, too_large)
        expect_that(isinstance(error, MessageTooLarge), "an edit to more than max_body to raise MessageTooLarge", error)
        expect(await stage.letters(transport, channel), [edited], "the letters after an edit that was refused")
    await parks(transport).redrive([letter.id])
    expect(await parks(other).edit(letter.id, first), None, "the edit of a letter that was redriven")
    got = await reader.take(1)
    expect(got[0].message, again, "the redriven message")
    await reader.done(got, ACKED)
    await stage.expect_nothing_else(transport, reader)


@promise(has("parks", "groups"), SETTLES_EACH)
async def redriven_letter_can_be_read(stage: Stage) -> None:
    """A redriven letter is dead no more but can be read, and that its message is ended; so can one sent elsewhere."""
    transport, channel = await stage.connect(), stage.channel("read")
    reader = await stage.subscribe(transport, channel, "strict")
    letters = await _dead(stage, transport, reader, *stage.messages(channel, 4))
    change = Change(time=stage.now(), by="somebody", body=b"mended")
    for letter in letters[1:]:
        await parks(transport).edit(letter.id, change)
    letters = await stage.letters(transport, channel)
    keys = [letter.id for letter in letters]
    expect(await parks(transport).pending([*keys, "unknown"]), [], "what is pending before the redrive")
    await stage.pass_time(1.0)
    sent_at = stage.now()
    await parks(transport).redrive(keys[:3])
    expect(
        await parks(await stage.connect()).discard([keys[3], "unknown"], sent=True), 1, "how many were sent elsewhere"
    )
    expect(await stage.letters(transport, channel), [], "the letters that are dead still")
    redriven = await stage.letters(await stage.connect(), channel, redriven=True)
    expect([replace(letter, redriven=None) for letter in redriven], letters, "the redriven letters")
    times = [letter.redriven for letter in redriven if letter.redriven is not None]
    late = timedelta(seconds=1)
    expect_that(all(abs(time - sent_at) < late for time in times), "the letters to say when they were redriven", times)
    by_id = await stage.letters(transport, ids=keys[1:2], redriven=True)
    expect([letter.id for letter in by_id], keys[1:2], "the redriven letter by its id")
    again = await parks(transport).redrive([keys[0]])
    expect_that(again[0].error is not None, "an error for a letter that was redriven already", again[0])
    expect(await parks(transport).discard(keys), 0, "how many dead letters there were to discard")

    expect(set(await parks(transport).pending(keys)), set(keys[:3]), "what is pending after the redrive")
    got = {delivery.message.id: delivery for delivery in await reader.take(3)}
    expect(set(await parks(transport).pending(keys)), set(keys[:3]), "what is pending in the reader's hand")
    await reader.done([got[letters[0].message.id]], ACKED)
    await reader.done([got[letters[1].message.id]], Rejected("rejected", stage.failure(1, "again")))
    expect(await parks(await stage.connect()).pending(keys), [keys[2]], "what is pending when two are ended")
    (died,) = await stage.letters(transport, channel)
    expect((died.message.id, died.redrives, died.edits), (letters[1].message.id, 1, ()), "the one that died again")
    await reader.done([got[letters[2].message.id]], ACKED)
    expect(await parks(transport).pending(keys), [], "what is pending when all are ended")


@promise(has("broadcast", "parks"))
async def overflow_of_a_listener_is_parked(stage: Stage) -> None:
    """What finds a listener too far behind is a dead letter, and a redrive brings it to the listeners there are."""
    limit, window = 20, 5
    transport, channel = await stage.connect(overflow=limit), stage.channel("flood")
    listener = await stage.subscribe(transport, channel, window=window)
    messages = stage.messages(channel, 60)
    receipts = await stage.publish(transport, messages[:40])
    receipts += await stage.publish(transport, messages[40:])
    parked = await stage.letters(transport, channel)
    expect(
        {(each.reason, each.source, each.group) for each in parked}, {("overflow", channel, None)}, "how it is parked"
    )
    expect_that(len(parked) >= 60 - limit - 2 * window, "what is beyond the limit to be parked", len(parked))
    if stage.capabilities.counts_receivers:
        expect(sum(receipt.receivers or 0 for receipt in receipts), 60 - len(parked), "the receivers in all")
    if stage.capabilities.detects_unrouted:
        expect({receipt.routed for receipt in receipts}, {True}, "whether a listener was there")
    got = ids(await listener.handle(60 - len(parked)))
    while parked:
        results = await parks(transport).redrive([letter.id for letter in parked])
        sent = sum(result.error is None for result in results)
        expect_that(0 < sent <= limit + 2 * window, "the listener to get as many as it has room for", sent)
        got += ids(await listener.handle(sent))
        parked = await stage.letters(transport, channel)
    expect(sorted(got), sorted(ids(messages)), "what the listener gets in the end")
    await stage.expect_nothing_else(transport, listener)


async def _dead(stage: Stage, transport: Transport, reader: Reader, *messages: Message) -> list[DeadLetter]:
    """The dead letters of messages that the reader's group rejected."""
    await stage.publish(transport, messages)
    await reader.done(await reader.take(len(messages)), Rejected("rejected", stage.failure(1, "never")))
    return await stage.letters(transport, reader.channel)
