"""One member's part in a group of a stream: every step is a script, so that nobody sees half of it."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from pabal.model.outcome import Acked, Rejected, Retried, Settlement
from pabal.model.transport import Settled, Start
from pabal.transports.redis.commands import Commands, Script, Word
from pabal.transports.redis.streams.entries import Entry, Token, errors_text
from pabal.transports.redis.streams.keys import LISTENER, StreamKeys

_JOIN, _SETTLE, _EXTEND = Script("join"), Script("settle"), Script("extend")
_TAKEOVER, _LEAVE = Script("takeover"), Script("leave")

MEMBER = "pabal-"
"""What begins the names of members, before the milliseconds of their lease: by that others know when it is over."""

_FORGET = 3_600_000
"""Milliseconds after which a member that has died with nothing in hand is forgotten."""

_AT_ONCE = 1000
"""How many deliveries are ended or extended in one step, which holds up everybody else on the server."""

_STREAM, _SIDE = 1, 2
_OURS = ord("1")


class Member:
    """A consumer of a consumer group, which settles by its own name and by how often each entry was delivered."""

    def __init__(self, commands: Commands, keys: StreamKeys, group: str, *, lease: float, start: Start | None) -> None:
        self.lease: float | None = lease
        self.keys = keys
        self._commands = commands
        self._group = group
        self._milliseconds = int(lease * 1000 + 0.999)
        self._name = f"{MEMBER}{self._milliseconds}-{secrets.token_hex(8)}"
        self._after: Word = _position(start)
        self._joined = False
        self._both = (keys.stream, keys.side(group))
        self.keys_of_all = (*self._both, keys.later_of(group), keys.waiting_of(group))
        self._aside = False  # the side stream had something when it was last read
        self._asked = 0  # how many streams were asked alone, and had nothing
        self._which = {key.encode(): which for which, key in enumerate(self._both, 1)}

    @property
    def to_move(self) -> tuple[str, str, str]:
        """Where what is to come later to this group waits, and the stream it goes to."""
        return self.keys_of_all[2], self.keys_of_all[3], self.keys_of_all[1]

    async def join(self) -> None:
        """Make the group if it is not there: one that we have read goes on after what we had of it.

        Raises ConfigurationError for a key that is no stream.
        """
        words = (self._group, self._after, LISTENER, int(self._joined))
        self._after = await self._commands.run(_JOIN, self._both, words)
        self._joined = True

    def reading(self, count: int, block: int) -> tuple[Word, ...]:
        """The command that reads up to `count` entries, and waits `block` milliseconds for the first.

        The count is each stream's. Where the side stream had something, both get half of it: what is read beyond the
        window would have to go back, and retries would wait behind any backlog. For a single one each is asked alone,
        the side stream first, and both only once neither has anything.
        """
        words = ("XREADGROUP", "GROUP", self._group, self._name, "COUNT")
        if count > 1:
            return (*words, count // 2 if self._aside else count, "BLOCK", block, "STREAMS", *self._both, ">", ">")
        self._asked += 1
        if self._asked > 2:
            self._asked = 0
            return (*words, 1, "BLOCK", block, "STREAMS", *self._both, ">", ">")
        return (*words, 1, "STREAMS", self._both[-self._asked], ">")

    def read(self, reply: list[Any]) -> list[Entry]:
        """The entries of such a command's reply, those of the side stream first."""
        found: list[Entry] = []
        for key, entries in reversed(reply):
            which = self._which[key]
            found += [Entry(Token(which, id, 1), fields) for id, fields in entries]
            if which == _STREAM:
                self._after = entries[-1][0]
        self._aside = bool(found) and found[0].token.which == _SIDE
        self._asked = 0
        return found

    async def settle(self, settled: Sequence[Settled]) -> list[Settlement]:
        """End deliveries; raises ConnectionFailed and ConfigurationError."""
        if len(settled) > _AT_ONCE:
            return [
                each
                for start in range(0, len(settled), _AT_ONCE)
                for each in await self.settle(settled[start : start + _AT_ONCE])
            ]
        first: list[Word] = []
        rest: list[Word] = []
        places: list[int] = []
        later: list[int] = []
        for place, (delivery, outcome) in enumerate((each.delivery, each.outcome) for each in settled):
            token = delivery.token
            assert isinstance(token, Token)  # noqa: S101 - made here
            if type(outcome) is Acked and token.times == 1 and token.which == _STREAM:
                first.append(token.id)
                places.append(place)
                continue
            later.append(place)
            if isinstance(outcome, Retried):
                errors = () if outcome.failure is None else (*delivery.errors, outcome.failure)
                rest += (
                    token.which,
                    token.id,
                    token.times,
                    "T",
                    int(outcome.after * 1000 + 0.999),
                    errors_text(errors) if errors else b"",
                )
            else:
                rest += (
                    token.which,
                    token.id,
                    token.times,
                    "A" if isinstance(outcome, Acked | Rejected) else "R",
                    0,
                    b"",
                )
        answers = await self._settle(first, rest)
        settlements = [Settlement.LOST] * len(settled)
        for place, answer in zip((*places, *later), answers, strict=True):
            if answer == _OURS:
                settlements[place] = Settlement.DONE
        return settlements

    async def give_back(self, tokens: Sequence[Token]) -> None:
        """Let others have these, uncounted; raises ConnectionFailed."""
        for start in range(0, len(tokens), _AT_ONCE):
            rest: list[Word] = []
            for token in tokens[start : start + _AT_ONCE]:
                rest += (token.which, token.id, token.times, "R", 0, b"")
            await self._settle([], rest)

    async def extend(self, tokens: Sequence[Token]) -> list[bool]:
        """Renew leases; returns which are ours still. Raises ConnectionFailed."""
        ours: list[bool] = []
        for start in range(0, len(tokens), _AT_ONCE):
            words: list[Word] = []
            for token in tokens[start : start + _AT_ONCE]:
                words += (token.which, token.id, token.times)
            answers = await self._commands.run(_EXTEND, self._both, (self._group, self._name, *words))
            ours += [answer == _OURS for answer in answers]
        return ours

    async def take_over(self, most: int) -> list[Entry]:
        """What others have had for longer than their lease. Raises ConnectionFailed."""
        if most <= 0:
            return []
        arguments = (self._group, self._name, self._milliseconds, most, MEMBER, _FORGET)
        taken = await self._commands.run(_TAKEOVER, self._both, arguments)
        return [Entry(Token(which, id, count), fields or []) for which, id, count, fields in taken]

    async def recover(self, known: Collection[Token] = ()) -> None:
        """Give back what the server says is ours, but for what is known here. Raises ConnectionFailed."""
        here = {(token.which, token.id) for token in known}
        for which, key in enumerate(self._both, 1):
            begin: bytes = b"-"
            while True:
                found = await self._commands.call("XPENDING", key, self._group, begin, "+", _AT_ONCE, self._name)
                tokens = [Token(which, id, count) for id, _, _, count in found]
                await self.give_back([token for token in tokens if (which, token.id) not in here])
                if len(found) < _AT_ONCE:
                    break
                begin = b"(" + found[-1][0]

    async def leave(self) -> None:
        """Be forgotten by the server. Raises ConnectionFailed."""
        await self._commands.run(_LEAVE, self._both, (self._group, self._name))

    async def _settle(self, first: list[Word], rest: list[Word]) -> bytes:
        words = (self._group, self._name, len(first), *first, *rest)
        answers: bytes = await self._commands.run(_SETTLE, self.keys_of_all, words)
        return answers


def _position(start: Start | None) -> str:
    """Where a new group begins; empty: where a group does that was not told."""
    if start is None:
        return ""
    if isinstance(start, datetime):
        # What was delivered last: the group begins after it.
        return f"{max(0, int(start.timestamp() * 1000) - 1)}-18446744073709551615"
    return "0" if start == "oldest" else "$"
