"""Ending deliveries, each fenced by its token and its lease: a row that is no longer ours is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pabal.messagebox.sqlite.lease import leases_of
from pabal.messagebox.sqlite.publish import history
from pabal.messagebox.sqlite.takes import RowLease, Takes
from pabal.messagebox.sqlite.transaction import Transaction, Uncertain
from pabal.model.outcome import Acked, Rejected, Released, Retried, Settlement
from pabal.model.transport import Settled

_DELETE = "DELETE FROM pabal_message WHERE id IN (SELECT value FROM json_each(?)) AND place = 0"
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
    takes = Takes(transaction, grp)
    leases = leases_of([one.delivery for one in settled], RowLease)
    acked = [lease for lease, one in zip(leases, settled, strict=True) if type(one.outcome) is Acked]
    gone = _delete(transaction, takes.alive(acked))
    settlements = [Settlement.DONE] * len(settled)
    if len(gone) < len(settled):
        takes.apart(lease for lease in leases if lease.id not in gone)
        for index, (one, lease) in enumerate(zip(settled, leases, strict=True)):
            if type(one.outcome) is Acked and lease.id in gone:
                gone.remove(lease.id)  # the same once more is lost
            elif not _end(transaction, one, lease, grp, source, name):
                settlements[index] = Settlement.LOST
    takes.close()
    return settlements


def release(transaction: Transaction, leases: Sequence[RowLease], *, grp: int) -> None:
    """Give back, uncounted, what is still ours."""
    _set_apart(transaction, leases, grp)
    transaction.connection.executemany(_RELEASE, [_key(transaction, lease) for lease in leases])
    transaction.ready.add(grp)


def extend(transaction: Transaction, leases: Sequence[RowLease], *, grp: int, until: float) -> list[bool]:
    """Renew leases; returns for each whether it is still ours."""
    _set_apart(transaction, leases, grp)
    execute = transaction.connection.execute
    kept = [execute(_EXTEND, (until, *_key(transaction, lease))).rowcount == 1 for lease in leases]
    transaction.remember(_renew, [lease for lease, ours in zip(leases, kept, strict=True) if ours], until)
    return kept


def _renew(leases: list[RowLease], until: float) -> None:
    for lease in leases:
        lease.until = until
        lease.last = 0  # it was set apart


def _set_apart(transaction: Transaction, leases: Sequence[RowLease], grp: int) -> None:
    takes = Takes(transaction, grp)
    takes.apart(leases)
    takes.close()


def _key(transaction: Transaction, lease: RowLease) -> tuple[int, int, float]:
    return lease.id, lease.token, transaction.now


def _delete(transaction: Transaction, leases: Sequence[RowLease]) -> set[int]:
    """Delete what is leased by takes that are alive; returns what was still there."""
    if not leases:
        return set()
    ids = [lease.id for lease in leases]
    wanted = (msgspec.json.encode(ids).decode(),)
    if transaction.careful:
        return {id for (id,) in transaction.connection.execute(f"{_DELETE} RETURNING id", wanted).fetchall()}
    # As a rule all are there, and to count them takes a third less than to be told which.
    if transaction.connection.execute(_DELETE, wanted).rowcount < len(ids):
        raise Uncertain
    return set(ids)


def _end(transaction: Transaction, one: Settled, lease: RowLease, grp: int, source: str, name: str | None) -> bool:
    """End a delivery that has a lease of its own; returns whether it had."""
    connection, delivery, key = transaction.connection, one.delivery, _key(transaction, lease)
    match one.outcome:
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
