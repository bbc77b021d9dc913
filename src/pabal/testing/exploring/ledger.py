"""The ledger: what was published, and what became of it in each group; the promise that nothing is lost in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from pabal.model.dead import DeadLetter
from pabal.model.message import Message
from pabal.model.names import matcher
from pabal.model.transport import GroupId, Post

_Buried: TypeAlias = set[tuple[str, GroupId | None]]
_Keys: TypeAlias = set[tuple[GroupId, str | None]]


class Ledger:
    """What a store was given and what it was told, as seen from outside of it.

    A message is named by the order in which it was first published: m1, m2 and so on. Requests are owed to nobody: who
    asks learns what became of them.
    """

    def __init__(self) -> None:
        self.published: list[Message] = []
        self._names: dict[str, str] = {}
        self._groups: dict[GroupId, None] = {}
        self._owed: dict[str, dict[GroupId | None, None]] = {}  # by message: who has to get it; None: a dead letter
        self._acknowledged: dict[str, None] = {}
        self._copies: Counter[tuple[str, GroupId]] = Counter()
        self._acked: Counter[tuple[str, GroupId]] = Counter()
        self._in_doubt: Counter[tuple[str, GroupId]] = Counter()
        self._keys: dict[str, str | None] = {}

    def name(self, message: Message) -> str:
        """What the trace calls a message."""
        return self._names.setdefault(message.id, f"m{len(self._names) + 1}")

    def joined(self, group: GroupId) -> None:
        """A group is registered."""
        self._groups[group] = None

    def sent(self, post: Post) -> None:
        """A message is on its way to the store."""
        for group in self._takers(post):
            self._copies[post.message.id, group] += 1

    def taken(self, post: Post) -> None:
        """The store has taken a message."""
        message = post.message
        self.published.append(message)
        self._keys[message.id] = message.key
        takers = self._takers(post)
        owed = self._owed.setdefault(message.id, {})
        owed.update(dict.fromkeys(takers))
        if not takers and post.park:
            owed[None] = None

    def acknowledged(self, post: Post) -> None:
        """The publisher was told so."""
        self._acknowledged[post.message.id] = None

    def delivered(self, message: Message) -> None:
        """A message came: the store has taken it, if anybody was there to hear that or not."""
        if message.id not in self._owed and message.reply_to is None:
            self.taken(Post(message))

    def sent_again(self, message: Message, group: GroupId | None) -> None:
        """A dead letter is redriven."""
        for each in self._owed.get(message.id, ()) if group is None else (group,):
            if each is not None:
                self._copies[message.id, each] += 1

    def acking(self, message: Message, group: GroupId) -> None:
        """An acknowledgement is on its way; whether it arrives is told by `acked`, if anybody hears that."""
        self._in_doubt[message.id, group] += 1

    def acked(self, message: Message, group: GroupId, *, done: bool) -> None:
        """The store has said whether an acknowledged delivery is done."""
        self._in_doubt[message.id, group] -= 1
        self._acked[message.id, group] += done

    def _takers(self, post: Post) -> list[GroupId]:
        if post.group is not None:
            return [post.group]
        return [group for group in self._groups if matcher(group.source)(post.message.channel)]

    def broken(self, dead: Iterable[DeadLetter]) -> str | None:
        """How the promise is broken, in words; None: it is kept."""
        buried, keys = _buried(dead)
        for (id, group), acked in self._acked.items():
            copies = self._copies[id, group]
            if acked > copies:
                return (
                    f"{self._names[id]} was acknowledged {acked} times in {_shown(group)}, each time confirmed, though "
                    f"it was taken {'once' if copies == 1 else f'{copies} times'}: what is done came again"
                )
        for id in self._acknowledged:
            for owed in self._owed.get(id, ()):
                if not self._is_done(id, owed, buried, keys):
                    return f"{self._names[id]} is lost: its publish was acknowledged, and it is " + (
                        "no dead letter, though nobody reads its channel"
                        if owed is None
                        else f"neither handled nor a dead letter in {_shown(owed)}"
                    )
        return None

    def is_held(self, dead: Iterable[DeadLetter]) -> bool:
        """Whether all that is still owed waits behind a dead letter of its key."""
        buried, keys = _buried(dead)
        return all(self._is_done(id, owed, buried, keys) for id, groups in self._owed.items() for owed in groups)

    def _is_done(self, id: str, owed: GroupId | None, buried: _Buried, keys: _Keys) -> bool:
        if (id, owed) in buried:
            return True
        if owed is None:
            return False
        return self._acked[id, owed] > 0 or self._in_doubt[id, owed] > 0 or (owed, self._keys[id]) in keys


def _buried(dead: Iterable[DeadLetter]) -> tuple[_Buried, _Keys]:
    buried: _Buried = set()
    keys: _Keys = set()
    for letter in dead:
        group = None if letter.group is None else GroupId(letter.source or letter.message.channel, letter.group)
        buried.add((letter.message.id, group))
        if group is not None and letter.message.key is not None:
            keys.add((group, letter.message.key))
    return buried, keys


def _shown(group: GroupId) -> str:
    return f"group {group.name} of {group.source}"
