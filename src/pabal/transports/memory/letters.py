"""The dead letters of one broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from pabal.model.dead import MOST_REDRIVEN, Change, DeadLetter, LetterFilter
from pabal.model.message import new_id
from pabal.transports.memory.lanes import Entry
from pabal.transports.memory.queue import Queue


class Kept(NamedTuple):
    """A dead letter with the place in the queue that its message had."""

    letter: DeadLetter
    sequence: int


class Sent(NamedTuple):
    """A letter that was redriven, and where its message went: nowhere of ours when another transport sent it."""

    letter: DeadLetter
    to: Sequence[tuple[Queue, Entry]]


class Letters:
    """Dead letters by their ids, and those that were redriven."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._sent: dict[str, Sent] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, letter: DeadLetter, sequence: int) -> None:
        """Keep a letter under a new id of its own."""
        letter = replace(letter, id=new_id(), redriven=None, past=())
        self._kept[letter.id] = Kept(letter, sequence)

    def get(self, id: str) -> Kept | None:
        """The letter of this id, or None."""
        return self._kept.get(id)

    def edit(self, id: str, change: Change) -> DeadLetter:
        """Change the letter of this id, which is there."""
        letter, sequence = self._kept[id]
        message, edit = change.apply(letter.message)
        letter = replace(letter, message=message, edits=(*letter.edits, edit))
        self._kept[id] = Kept(letter, sequence)
        return letter

    def discard(self, id: str) -> bool:
        """Delete a letter; returns whether there was one."""
        return self._kept.pop(id, None) is not None

    def sent(self, id: str, to: Sequence[tuple[Queue, Entry]], now: datetime) -> bool:
        """A letter was redriven; returns whether there was one."""
        kept = self._kept.pop(id, None)
        if kept is None:
            return False
        self._sent[id] = Sent(replace(kept.letter, redriven=now), to)
        if len(self._sent) > MOST_REDRIVEN:
            del self._sent[next(iter(self._sent))]
        return True

    def sent_to(self, id: str) -> Sequence[tuple[Queue, Entry]] | None:
        """Where the message of a redriven letter went; None: there is no such letter."""
        sent = self._sent.get(id)
        return None if sent is None else sent.to

    def find(self, wanted: LetterFilter) -> Iterator[DeadLetter]:
        """The letters that fit, oldest first; those deleted while it is read are left out."""
        among: dict[str, Kept] | dict[str, Sent] = self._sent if wanted.redriven else self._kept
        ids = among if wanted.ids is None else [id for id in dict.fromkeys(wanted.ids) if id in among]
        others = replace(wanted, ids=None)
        found = [letter for letter in (among[id].letter for id in ids) if others.fits(letter)]
        for letter in sorted(found, key=lambda letter: letter.parked):
            if letter.id in among:
                yield letter
