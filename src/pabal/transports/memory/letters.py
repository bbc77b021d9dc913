"""The dead letters of one broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from pabal.model.dead import DeadLetter, LetterFilter
from pabal.model.message import new_id


class Kept(NamedTuple):
    """A dead letter with the place in the queue that its message had."""

    letter: DeadLetter
    sequence: int


class Letters:
    """Dead letters by their ids."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, letter: DeadLetter, sequence: int) -> None:
        """Keep a letter under a new id of its own."""
        letter = replace(letter, id=new_id())
        self._kept[letter.id] = Kept(letter, sequence)

    def get(self, id: str) -> Kept | None:
        """The letter of this id, or None."""
        return self._kept.get(id)

    def discard(self, id: str) -> bool:
        """Delete a letter; returns whether there was one."""
        return self._kept.pop(id, None) is not None

    def find(self, wanted: LetterFilter) -> Iterator[DeadLetter]:
        """The letters that fit, oldest first; those deleted while it is read are left out."""
        if wanted.ids is None:
            candidates = list(self._kept.values())
        else:
            candidates = [self._kept[id] for id in dict.fromkeys(wanted.ids) if id in self._kept]
            wanted = replace(wanted, ids=None)  # many ids would be compared with each letter
        for kept in sorted(candidates, key=lambda kept: kept.letter.parked):
            if kept.letter.id in self._kept and wanted.fits(kept.letter):
                yield kept.letter
