"""Requests: the answer comes to who asked, at once or not at all."""

from __future__ import annotations

import asyncio

from pabal.model.message import Message
from pabal.model.transport import Receipt, Transport
from pabal.testing.broken import expect, expect_that
from pabal.testing.promise import SETTLES_EACH, has, lacks, promise
from pabal.testing.stage import Reader, Stage, raised, requests


class _Requester:
    """One connection that asks."""

    def __init__(self, stage: Stage, transport: Transport) -> None:
        self.transport = transport
        self.answers: dict[str, Message | None] = {}
        self.strange: list[str] = []
        self._stage = stage
        self._address = ""
        self._arrived = asyncio.Event()

    async def open(self) -> _Requester:
        async with self._stage.within("the way back to open"):
            self._address = await requests(self.transport).replies(self._receive)
        return self

    def _receive(self, reply_to: str, answer: Message | None) -> None:
        if reply_to.startswith(f"{self._address}.") and reply_to not in self.answers:
            self.answers[reply_to] = answer
        else:
            self.strange.append(reply_to)
        self._arrived.set()

    async def ask(self, channel: str, token: str, body: bytes = b"") -> tuple[str, Receipt]:
        message = self._stage.message(channel, body, reply_to=f"{self._address}.{token}")
        async with self._stage.within("request() to return"):
            return message.reply_to or "", await requests(self.transport).request(message)

    async def until(self, count: int) -> None:
        """Wait until `count` answers are there."""
        while len(self.answers) < count:
            self._arrived.clear()
            async with self._stage.within(f"{count} answers, of which {len(self.answers)} came"):
                await self._arrived.wait()


async def _answer(stage: Stage, transport: Transport, reader: Reader, count: int) -> None:
    """Answer `count` requests with their own bodies, turned round."""
    for delivery in await reader.handle(count):
        reply_to = delivery.message.reply_to
        expect_that(reply_to is not None, "a request to carry reply_to", reply_to)
        answer = stage.message(reply_to or "", delivery.message.body[::-1], correlation_id=delivery.message.id)
        async with stage.within("reply() to return"):
            error = await raised(requests(transport).reply, answer)
        expect(error, None, "the error of an answer")


@promise(has("requests", "groups"))
async def answer_arrives(stage: Stage) -> None:
    """A request reaches a living group, carries its way back, and the answer arrives as it was sent."""
    asker = await _Requester(stage, await stage.connect()).open()
    responder, channel = await stage.connect(), stage.channel("ask")
    reader = await stage.subscribe(responder, channel, "answering")
    way, receipt = await asker.ask(channel, "t1", b"abc")
    expect(receipt.error, None, "the error of the request")
    expect_that(receipt.routed is not False, "the request to be routed", receipt)
    await _answer(stage, responder, reader, 1)
    await asker.until(1)
    answer = asker.answers[way]
    expect(answer and answer.body, b"cba", "the answer's body")
    expect(asker.strange, [], "answers that were not asked for")


@promise(has("requests", "broadcast"))
async def listener_answers(stage: Stage) -> None:
    """A request reaches listeners too."""
    asker = await _Requester(stage, await stage.connect()).open()
    responder, channel = await stage.connect(), stage.channel("ask")
    reader = await stage.subscribe(responder, channel)
    way, _ = await asker.ask(channel, "t1", b"ab")
    await _answer(stage, responder, reader, 1)
    await asker.until(1)
    answer = asker.answers[way]
    expect(answer and answer.body, b"ba", "the answer's body")


@promise(has("requests", "detects_unrouted"))
async def nobody_answers_is_known(stage: Stage) -> None:
    """A request that nobody is there to answer says so at once, and nothing of it is parked."""
    asker = await _Requester(stage, await stage.connect()).open()
    channel = stage.channel("nobody")
    way, receipt = await asker.ask(channel, "t1")
    if receipt.routed is not False:
        await asker.until(1)
        expect(asker.answers[way], None, "the answer where nobody is there")
    if stage.capabilities.parks:
        expect(await stage.letters(asker.transport, channel), [], "the dead letters of a request")


@promise(has("requests", "groups", "detects_unrouted"), SETTLES_EACH)
async def sleeping_group_is_not_asked(stage: Stage) -> None:
    """A group without a living member is not asked: the request says that nobody is there, and none of it is kept."""
    asker = await _Requester(stage, await stage.connect()).open()
    responder, channel = await stage.connect(), stage.channel("asleep")
    reader = await stage.subscribe(responder, channel, "answering")
    await reader.close()
    way, receipt = await asker.ask(channel, "t1")
    if receipt.routed is not False:
        await asker.until(1)
        expect(asker.answers[way], None, "the answer where no member lives")
    reader = await stage.subscribe(responder, channel, "answering")
    await stage.expect_nothing_else(responder, reader)


@promise(has("requests", "groups"))
async def many_requests_in_flight(stage: Stage) -> None:
    """Two requesters with 100 requests each in flight get each its own answers, one for each request."""
    askers = [await _Requester(stage, await stage.connect()).open() for _ in range(2)]
    responder, channel = await stage.connect(), stage.channel("ask")
    reader = await stage.subscribe(responder, channel, "answering")
    asked: list[dict[str, bytes]] = [{}, {}]

    async def ask(who: int, number: int) -> None:
        body = f"{who}:{number}".encode()
        way, _ = await askers[who].ask(channel, f"t{number}", body)
        asked[who][way] = body

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_answer(stage, responder, reader, 200))
        for number in range(100):
            for who in (0, 1):
                tasks.create_task(ask(who, number))
    for who, asker in enumerate(askers):
        await asker.until(100)
        got = {way: answer.body if answer is not None else None for way, answer in asker.answers.items()}
        expect(got == {way: body[::-1] for way, body in asked[who].items()}, True, "each request having its own answer")
        expect(asker.strange, [], "answers that were not asked for")


@promise(has("requests"))
async def late_answer_is_no_error(stage: Stage) -> None:
    """An answer for which nobody waits any more, its requester closed, is no error."""
    gone = await stage.connect()
    asker = await _Requester(stage, gone).open()
    responder, channel = await stage.connect(), stage.channel("ask")
    reader = await stage.subscribe(responder, channel, "answering" if stage.capabilities.groups else None)
    await asker.ask(channel, "t1")
    await stage.close(gone)
    await _answer(stage, responder, reader, 1)


@promise(lacks("requests"))
async def requests_are_absent(stage: Stage) -> None:
    """A transport that does not declare requests has none of its methods."""
    transport = await stage.connect()
    there = [name for name in ("replies", "request", "reply") if hasattr(transport, name)]
    expect(there, [], "the methods of an undeclared Protocol")
