"""Readers of owned groups: each owns parts of the key space and reads them in order, marking nothing.

What is out is known here alone. It stays ours as long as our member row is there and as it is extended; whoever
takes a part over from a dead owner hands out the first of it one by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from pabal.messagebox.sqlite import groups, members, settle_owned, slots
from pabal.messagebox.sqlite.keys import Keys
from pabal.messagebox.sqlite.lease import Lease
from pabal.messagebox.sqlite.lines import Hold, Part
from pabal.messagebox.sqlite.reader import Reader
from pabal.messagebox.sqlite.stock import End, Stock
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.errors import ConfigurationError
from pabal.model.outcome import Settlement
from pabal.model.transport import Delivery, Settled, Source

_SUSPECTS = 100
"""How many rows of one part an owner that died may have had in hand."""

_LATE = "UPDATE pabal_message SET attempt = attempt + 1, place = 1 + part WHERE id = ? AND grp = ? AND place >= 0"
_COUNT = "UPDATE pabal_message SET attempt = attempt + 1 WHERE id = ? AND grp = ? AND place >= 0 RETURNING attempt"


class OwnedReader(Reader):
    """A member of an owned group, with a member row of its own: its heartbeat is the lease of all it owns."""

    def __init__(self, source: Source, deliver: Callable[[list[Delivery]], object], *, lease: float) -> None:
        super().__init__(source, deliver, lease=lease)
        self.mode = groups.Mode("owned", source.on_dead)
        self.parks = source.on_dead == "park" and source.group is not None  # a listener's letters hold up nobody
        self.member = 0
        self._takes = True  # whether it wants a share, as the others know it
        self._until = 0.0  # when the others may declare us dead
        self._entered(0, 0, 0.0)

    # Membership.

    def enter(self, transaction: Transaction) -> None:
        """Register under a member row of its own."""
        until = transaction.now + self.lease
        grp = groups.register(transaction, self.source, self.name, self.mode, takes=self.window > 0)
        member = members.join(transaction.connection, until)
        groups.listen(transaction.connection, grp, member)
        slots.announce(transaction.connection)
        transaction.joined[self] = member
        transaction.remember(self._entered, grp, member, until)

    def _entered(self, grp: int, member: int, until: float) -> None:
        self.grp = grp
        self.member = member
        self._takes = True
        self._until = until
        self._keys = Keys(grp, parks=self.parks)
        self.stock = Stock(self._keys)

    def leave(self, transaction: Transaction, leases: Iterable[Lease], *, last: bool) -> None:  # noqa: ARG002 - all go
        """Give up all parts; what was in hand is where it was."""
        slots.give_up(transaction.connection, self.grp, self.member, self.stock.parts)
        members.bury(transaction.connection, [transaction.joined.get(self, self.member)])
        transaction.joined[self] = 0
        transaction.remember(self._entered, self.grp, 0, 0.0)

    def beat(self, transaction: Transaction) -> None:
        """Stay alive; what was not extended in time comes again. Declared dead, all is lost, and we join anew."""
        until = transaction.now + self.lease
        if not members.beat(transaction.connection, self.member, until):
            self._rejoin(transaction)
            return
        ours = self.fence(transaction)
        late = [hold for hold in self.stock.out.values() if hold.deadline <= transaction.now and ours(hold)]
        transaction.connection.executemany(_LATE, [(hold.id, self.grp) for hold in late])
        straight = [
            part
            for part in self.stock.parts.values()
            if part.behind and not self._keys.stands(transaction.connection, part.number)
        ]
        transaction.remember(self._renewed, until, late, straight)

    def _rejoin(self, transaction: Transaction) -> None:
        try:
            self.enter(transaction)
        except ConfigurationError as error:  # while we were frozen it became another group
            transaction.remember(setattr, self, "refused", str(error))
        for hold in self.stock.out.values():
            transaction.remember(setattr, hold, "until", 0.0)

    def _renewed(self, until: float, late: list[Hold], straight: list[Part]) -> None:
        self._until = until
        for hold in self.stock.out.values():
            hold.deadline = min(hold.deadline, until)  # unless the clock was set back it is so
            hold.until = hold.deadline
        self.stock.ended([(hold, End.AGAIN) for hold in late])
        for part in straight:
            part.behind = False
        self.stock.sweep()

    def fence(self, transaction: Transaction) -> Callable[[Hold], bool]:
        """What tells, in this transaction, whether a row that is out is ours."""
        parts = self._parts(transaction.connection)
        out = self.stock.out

        def ours(hold: Hold) -> bool:
            return hold.line.part in parts and out.get(hold.id) is hold

        return ours

    def _parts(self, connection: sqlite3.Connection) -> AbstractSet[Part]:
        """The parts that we know and that are ours still."""
        known = self.stock.known
        if slots.are_as_known(connection, self.grp, self.member, parts=known.mask, epochs=known.epochs):
            return known.parts
        epochs = slots.owned(connection, self.grp, self.member)
        return {part for part in known.parts if epochs.get(part.number) == part.epoch}

    # Deliveries.

    def settle(self, transaction: Transaction, *, settled: Sequence[Settled]) -> list[Settlement]:
        """End deliveries, fenced by the slots."""
        return settle_owned.settle(self, transaction, settled)

    def extend(self, transaction: Transaction, *, leases: Sequence[Lease]) -> list[bool]:
        """Put off the time when deliveries come again."""
        ours, now = self.fence(transaction), transaction.now
        kept = [isinstance(lease, Hold) and lease.deadline > now and ours(lease) for lease in leases]
        transaction.remember(self._extended, [lease for lease, one in zip(leases, kept, strict=True) if one], now)
        return kept

    def _extended(self, holds: list[Hold], now: float) -> None:
        for hold in holds:
            hold.deadline = now + self.lease
            hold.until = min(hold.deadline, self._until)

    def release(self, transaction: Transaction, *, leases: Iterable[Lease]) -> None:
        """Take back what was handed over; nobody else may have it while the part is ours."""
        backs = [(lease, End.BACK) for lease in leases if isinstance(lease, Hold)]
        transaction.remember(self.stock.ended, backs)

    @property
    def eager(self) -> bool:
        """Whether there may be something to hand out at once."""
        return self.credit > 0 and self.stock.has_more

    def hand_out(self, connection: sqlite3.Connection, now: float) -> list[Delivery]:
        """Read, and hand out what may go; nothing once it is not certain that the parts are ours."""
        if now >= self._until:
            return []
        deliveries = self.stock.hand_out(
            connection, self.credit, now=now, window=self.window, lease=self.lease, until=self._until
        )
        self.credit -= len(deliveries)
        return deliveries

    # What it has to write, unasked.

    @property
    def has_chores(self) -> bool:
        """Whether it needs a transaction."""
        return self.stock.has_chores or self._takes != (self.window > 0)

    def chores(self, transaction: Transaction) -> None:
        """Share parts out, move rows out of the way, count suspects. A job."""
        if self in transaction.joined:
            return  # what it knows is of the past until this is committed
        connection, stock = transaction.connection, self.stock
        if not members.is_there(connection, self.member):
            self._rejoin(transaction)
            return
        if stock.unbalanced or self._takes != (self.window > 0):
            self._rebalance(transaction)
        ours = self._parts(connection)
        if stock.met or stock.aside:
            aside = [(hold, id) for hold, id in stock.aside if (part := hold.line.part) in ours and id not in part.held]
            met = [row[0] for part, row in stock.met if part in ours and row[0] not in part.held]
            shortened = {hold for hold, _ in aside}
            before = [id for hold in shortened for id in (hold.id, *(row[0] for row in hold.line.rows))]
            self._keys.set_aside(connection, [id for _, id in aside], before=before)
            transaction.remember(stock.moved, self._keys.move(connection, met))
        if stock.to_count:
            counted: list[tuple[object, object]] = []
            for line in stock.to_count:
                if line.part in ours:
                    (attempt,) = connection.execute(_COUNT, (line.rows[0][0], self.grp)).fetchone() or (None,)
                    counted.append((line, attempt))
            transaction.remember(stock.counted, counted)
        if stock.through:
            for part in stock.through:
                slots.trust(connection, self.grp, self.member, part.number)
            transaction.remember(stock.trusted)

    def _rebalance(self, transaction: Transaction) -> None:
        connection, takes, parts = transaction.connection, self.window > 0, self.stock.parts
        if takes != self._takes:
            slots.set_takes(connection, self.grp, self.member, takes)
        surplus = len(parts) - slots.share(connection, self.grp, takes=takes)
        # Those with nothing out go at once; of the others rather those that are about to go already.
        going = sorted(parts.values(), key=lambda part: (part.out > 0, not part.closed))[: max(0, surplus)]
        gone = [part.number for part in going if not part.out]
        if gone:
            slots.give_up(connection, self.grp, self.member, gone)
        claims = slots.claim(connection, self.grp, self.member, -surplus) if takes and surplus < 0 else []
        transaction.remember(self.stock.balanced, going, self._claimed(connection, claims))
        transaction.remember(setattr, self, "_takes", takes)

    def _claimed(self, connection: sqlite3.Connection, claims: Sequence[slots.Claim]) -> list[Part]:
        unclean = [claim.part for claim in claims if not claim.clean]
        suspects = self._keys.first(connection, unclean, most=_SUSPECTS) if unclean else {}
        for number in unclean:
            if not suspects[number]:
                slots.trust(connection, self.grp, self.member, number)
        return [
            Part(
                claim.part,
                claim.epoch,
                suspects=suspects.get(claim.part, 0),
                behind=self._keys.stands(connection, claim.part),
            )
            for claim in claims
        ]
