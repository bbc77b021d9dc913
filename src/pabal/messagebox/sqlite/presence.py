"""This process as a member of the box: its heartbeat, and the burying of those who have none."""

from __future__ import annotations

from pabal.messagebox.sqlite import members
from pabal.messagebox.sqlite.transaction import Transaction


class Presence:
    """One member row, renewed at each third of the lease.

    Attributes:
        member: the row's id; None: this process has not read anything yet.
    """

    def __init__(self, lease: float) -> None:
        self.member: int | None = None
        self._lease = lease
        self._since = 0.0  # our last beat
        self._suspects: set[int] = set()

    def is_due(self, now: float) -> bool:
        """Whether it is time to beat: a third of the lease has passed, or the clock was set back."""
        return self.member is not None and not self._since <= now < self._since + self._lease / 3

    def join(self, transaction: Transaction) -> int:
        """Become a member, under a new id."""
        member = members.join(transaction.connection, transaction.now + self._lease)
        transaction.member = member
        transaction.remember(self._renewed, member, transaction.now, set())
        return member

    def beat(self, transaction: Transaction) -> bool:
        """Renew the row, and bury the dead; returns False when we were buried ourselves.

        Whoever was expired at our last beat as well is dead. Once would not do: of a machine that slept, the
        first process to wake finds all the others expired.
        """
        connection, member = transaction.connection, transaction.member
        if transaction.now < self._since:
            members.set_back(connection, since=self._since, until=transaction.now + self._lease)
        if member is None or not members.beat(connection, member, transaction.now + self._lease):
            return False
        expired = members.expired(connection, transaction.now)
        dead = expired & self._suspects
        if dead:
            members.bury(connection, dead)
        transaction.remember(self._renewed, member, transaction.now, expired - dead)
        return True

    def leave(self, transaction: Transaction) -> None:
        """Be a member no more."""
        if transaction.member is not None:
            members.bury(transaction.connection, [transaction.member])
            transaction.remember(setattr, self, "member", None)

    def _renewed(self, member: int, now: float, suspects: set[int]) -> None:
        self.member = member
        self._since = now
        self._suspects = suspects
