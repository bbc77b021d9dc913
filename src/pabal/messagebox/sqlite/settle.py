"""Ending deliveries, each fenced by its token and its lease: a row that is no longer ours is left alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pabal.messagebox.sqlite.lease import lease_of
from pabal.messagebox.sqlite.publish import history
from pabal.messagebox.sqlite.take import RowLease
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.outcome import Acked, Outcome, Rejected, Released, Retried, Settlement
from pabal.model.transport import Settled

_ACK = "DELETE FROM pabal_message WHERE id = ? AND token = ? AND due > ?"
_RELEASE = (
    "UPDATE pabal_message SET place = -1 - place, due = NULL, token = NULL, attempt = attempt - 1"
    " WHERE id = ? AND token = ? AND due > ?"
)
_RETRY_NOW = (
    "UPDATE pabal_message SET place = -1 - place, due = NULL, token = NULL, errors = ?"
    " WHERE id = ? AND token = ? AND due > ?"
)
_RETRY_LATER = "UPDATE pabal_message SET due = ?, token = NULL, errors = ? WHERE id = ? AND token = ? AND due > ?"
_EXTEND = "UPDATE pabal_message SET due = ? WHERE id = ? AND token = ? AND due > ?"
_PARK = (
    "INSERT INTO pabal_dead (source, name, seq, redrive, attempt, reason, parked, key, channel,"
    " message_id, errors, headers, body)"
    " SELECT ?, ?, id, redrive, attempt, ?, ?, key, channel, message_id, ?, headers, body"
    " FROM pabal_message WHERE id = ? AND token = ? AND due > ?"
)


def settle(
    transaction: Transaction, settled: Sequence[Settled], *, grp: int, source: str, name: str | None
) -> list[Settlement]:
    """End deliveries of one group; one settlement each.

    Rejected moves the row into the dead letters in this same transaction, with its failures.
    """
    acked = [index for index, one in enumerate(settled) if isinstance(one.outcome, Acked)]
    settlements = [Settlement.LOST] * len(settled)
    for index, done in zip(
        acked, _ack(transaction, [lease_of(settled[i].delivery, RowLease) for i in acked]), strict=True
    ):
        if done:
            settlements[index] = Settlement.DONE
    if len(acked) < len(settled):
        for index, one in enumerate(settled):
            if not isinstance(one.outcome, Acked) and _end(transaction, one, one.outcome, grp, source, name):
                settlements[index] = Settlement.DONE
    return settlements


def release(transaction: Transaction, leases: Iterable[RowLease], *, grp: int) -> None:
    """Give back, uncounted, what is still ours."""
    transaction.connection.executemany(_RELEASE, [_key(transaction, lease) for lease in leases])
    transaction.ready.add(grp)


def extend(transaction: Transaction, leases: Sequence[RowLease], *, until: float) -> list[bool]:
    """Renew leases; returns for each whether it is still ours."""
    kept = _each(transaction, _EXTEND, [(until, *_key(transaction, lease)) for lease in leases])
    transaction.remember(_renew, [lease for lease, ours in zip(leases, kept, strict=True) if ours], until)
    return kept


def _renew(leases: list[RowLease], until: float) -> None:
    for lease in leases:
        lease.until = until


def _key(transaction: Transaction, lease: RowLease) -> tuple[int, int, float]:
    return lease.id, lease.token, transaction.now


def _ack(transaction: Transaction, leases: list[RowLease]) -> list[bool]:
    return _each(transaction, _ACK, [_key(transaction, lease) for lease in leases])


def _each(transaction: Transaction, statement: str, rows: list[tuple[float, ...]]) -> list[bool]:
    """Run a statement for each row; returns for each whether it met its row.

    One executemany when all do, which is the rule and takes half the time of asking one by one.
    """
    connection = transaction.connection
    connection.execute("SAVEPOINT each")
    if connection.executemany(statement, rows).rowcount == len(rows):
        connection.execute("RELEASE each")
        return [True] * len(rows)
    connection.execute("ROLLBACK TO each")
    connection.execute("RELEASE each")
    return [connection.execute(statement, row).rowcount == 1 for row in rows]


def _end(transaction: Transaction, one: Settled, outcome: Outcome, grp: int, source: str, name: str | None) -> bool:
    connection, delivery = transaction.connection, one.delivery
    key = _key(transaction, lease_of(delivery, RowLease))
    match outcome:
        case Retried(after, failure):
            errors = history((*delivery.errors, failure) if failure is not None else delivery.errors)
            if after > 0:
                return connection.execute(_RETRY_LATER, (transaction.now + after, errors, *key)).rowcount == 1
            transaction.ready.add(grp)
            return connection.execute(_RETRY_NOW, (errors, *key)).rowcount == 1
        case Rejected(reason, failure):
            errors = history((*delivery.errors, failure) if failure is not None else delivery.errors)
            parked = (source, name, reason, transaction.now, errors, *key)
            connection.execute(_PARK, parked)
            return connection.execute(_ACK, key).rowcount == 1
        case Released():
            transaction.ready.add(grp)
            return connection.execute(_RELEASE, key).rowcount == 1
        case Acked():
            return connection.execute(_ACK, key).rowcount == 1
