"""The judging: every acknowledged message is in exactly one end state, and nothing is there that nobody can explain."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from pabal.model.dead import DeadLetter
from tests.faults.ledger import Entry


class Account(msgspec.Struct, kw_only=True):
    """What became of all messages of a scenario.

    Attributes:
        intended: how many were to be published.
        acknowledged: how many `publish` has returned for.
        refused: how many it raised for, saying that they were not taken.
        unknown: how many it raised PublishTimeout for, which says that they may have been taken.
        handled: how many were handled at least once.
        duplicates: how often one was handled again, or parked again where that is explained.
        dead: how many are dead letters.
        lost: the acknowledged ones that were neither handled nor are dead letters.
        unexplained: whatever else must not be: a message that was handled and is dead, that nobody intended, that came
            although it was refused, that is out of order, that died of something else than it should.
        seen: what the scenario did, and what it saw, in numbers.
        seconds: how long it took.
    """

    intended: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    handled: int = 0
    duplicates: int = 0
    dead: int = 0
    lost: list[str] = msgspec.field(default_factory=list)
    unexplained: list[str] = msgspec.field(default_factory=list)
    seen: dict[str, int] = msgspec.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        return not self.lost and not self.unexplained

    def number(self, name: str) -> int:
        """One of these counts, or of what was seen."""
        counts = {
            "acknowledged": self.acknowledged,
            "refused": self.refused,
            "failed": self.refused + self.unknown,
            "duplicates": self.duplicates,
        }
        return counts.get(name, self.seen.get(name, 0))


class Book:
    """What the ledger says so far."""

    def __init__(self) -> None:
        self.intended: dict[str, Entry] = {}
        self.ended: dict[str, Entry] = {}  # acknowledged, refused or unknown
        self.begun: list[Entry] = []
        self.handled: dict[str, list[Entry]] = defaultdict(list)  # in the order of their first handling
        self.count: Counter[tuple[str, str]] = Counter()  # what each process has done
        self.strange: list[str] = []

    def enter(self, entries: Iterable[Entry]) -> None:
        """Read on."""
        for entry in entries:
            self.count[entry.what, entry.who] += 1
            match entry.what:
                case "intended":
                    if entry.id in self.intended:
                        self.strange.append(f"{entry.id} was intended twice")
                    self.intended[entry.id] = entry
                case "late":
                    self.strange.append(f"{entry.id} was not published within its timeout, and nobody was told so")
                case "begun":
                    self.begun.append(entry)
                case "handled":
                    self.handled[entry.id].append(entry)
                case "acknowledged" | "refused" | "unknown":
                    self.count["failed", entry.who] += entry.what != "acknowledged"
                    self.ended[entry.id] = entry

    def acknowledged(self) -> list[str]:
        return [id for id, entry in self.ended.items() if entry.what == "acknowledged"]

    def open(self) -> list[str]:
        """What was acknowledged, should be handled, and is not yet."""
        return [id for id in self.acknowledged() if id not in self.handled and self.intended[id].fate != "reject"]

    def to_die(self) -> set[str]:
        """What was acknowledged and should be a dead letter."""
        return {id for id in self.acknowledged() if self.intended[id].fate == "reject"}

    def judge(
        self, letters: Iterable[DeadLetter], *, ordered: bool, seen: Mapping[str, int], apart: bool = False
    ) -> Account:
        """The account, once no process works any more.

        Dead letters that are kept apart from the transport can be there twice, as handling can be: who parks one may
        be killed, or have no answer, before the message is settled. That counts as a duplicate.
        """
        letters = list(letters)
        dead = Counter(letter.message.id for letter in letters)
        return Account(
            intended=len(self.intended),
            acknowledged=len(self.acknowledged()),
            refused=sum(entry.what == "refused" for entry in self.ended.values()),
            unknown=sum(entry.what == "unknown" for entry in self.ended.values()),
            handled=len(self.handled),
            duplicates=sum(len(entries) - 1 for entries in self.handled.values()) + (dead.total() - len(dead)) * apart,
            dead=len(dead),
            lost=[id for id in self.acknowledged() if id not in self.handled and id not in dead],
            unexplained=[
                *self.strange,
                *self._astray(dead),
                *self._wrongly_dead(letters),
                *(() if apart else (f"{id} died {times} times" for id, times in dead.items() if times > 1)),
                *(self._disorder() if ordered else ()),
            ],
            seen=dict(seen),
        )

    def _astray(self, dead: Mapping[str, int]) -> Iterable[str]:
        for id in {**self.handled, **dead}:
            if id not in self.intended:
                yield f"{id} was intended by nobody"
            elif id in self.ended and self.ended[id].what == "refused":
                yield f"{id} was refused ({self.ended[id].why}) and came nevertheless"
            if id in self.handled and id in dead:
                yield f"{id} was handled and is a dead letter"

    def _wrongly_dead(self, letters: Iterable[DeadLetter]) -> Iterable[str]:
        for letter in letters:
            intended = self.intended.get(letter.message.id)
            if letter.reason != "rejected" or (intended is not None and intended.fate != "reject"):
                yield f"{letter.message.id} is a dead letter: {letter.reason}"

    def _disorder(self) -> Iterable[str]:
        """First handlings that do not follow the order of publishing in their key.

        Whether and when something was taken whose publisher was not told so is not known, so that has no place.
        """
        place = {id: number for number, id in enumerate(self.intended)}
        last: dict[str | None, str] = {}
        known = set(self.acknowledged())
        for id in self.handled:
            if id not in known:
                continue
            key = self.intended[id].key
            if key in last and place[last[key]] > place[id]:
                yield f"{id} was handled after {last[key]}, which follows it in {key}"
            else:
                last[key] = id
