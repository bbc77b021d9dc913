"""Readers of shared groups: any member takes any message, and each row is leased by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pabal.messagebox.sqlite import groups, settle
from pabal.messagebox.sqlite.lease import Lease
from pabal.messagebox.sqlite.reader import Reader
from pabal.messagebox.sqlite.takes import RowLease
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.outcome import Settlement
from pabal.model.transport import Settled


class SharedReader(Reader):
    """A reader of a shared group, or a listener; it reads in the name of the process's own member."""

    def enter(self, transaction: Transaction) -> None:
        """Register for the process's member."""
        assert transaction.member is not None  # noqa: S101 - the box sees to it
        grp = groups.register(transaction, self.source, self.name, takes=self.window > 0)
        groups.listen(transaction.connection, grp, transaction.member)
        transaction.remember(setattr, self, "grp", grp)

    def leave(self, transaction: Transaction, leases: Iterable[Lease], *, last: bool) -> None:
        """Give rows back; with the last reader the process reads the group no more."""
        self.release(transaction, leases=leases)
        if last and transaction.member is not None:
            groups.unregister(transaction.connection, self.grp, transaction.member)

    def settle(self, transaction: Transaction, *, settled: Sequence[Settled]) -> list[Settlement]:
        """End deliveries, each fenced by its row's token."""
        return settle.settle(transaction, settled, grp=self.grp, source=self.source, name=self.group)

    def extend(self, transaction: Transaction, *, leases: Sequence[Lease]) -> list[bool]:
        """Renew the rows' leases."""
        return settle.extend(transaction, _rows(leases), grp=self.grp, until=transaction.now + self.lease)

    def release(self, transaction: Transaction, *, leases: Iterable[Lease]) -> None:
        """Give rows back."""
        settle.release(transaction, _rows(leases), grp=self.grp)


def _rows(leases: Iterable[Lease]) -> list[RowLease]:
    return [lease for lease in leases if isinstance(lease, RowLease)]
