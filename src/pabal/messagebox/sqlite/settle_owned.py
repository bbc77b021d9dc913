"""Ending deliveries of an owned group: fenced by the slots, once for each transaction and part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pabal.messagebox.sqlite.keys import bring_back
from pabal.messagebox.sqlite.lease import leases_of
from pabal.messagebox.sqlite.lines import SHORT, Hold, Part
from pabal.messagebox.sqlite.publish import history
from pabal.messagebox.sqlite.stock import End
from pabal.messagebox.sqlite.transaction import Transaction
from pabal.model.dead import HOLDING
from pabal.model.outcome import Acked, Outcome, Rejected, Released, Retried, Settlement
from pabal.model.transport import Delivery, Settled

if TYPE_CHECKING:
    from pabal.messagebox.sqlite.owned import OwnedReader

_ROW = "id = ? AND grp = ? AND place >= 0"
# The plus signs keep SQLite from going through all that the group has.
_GONE = "DELETE FROM pabal_message WHERE id IN (SELECT value FROM json_each(?)) AND +grp = ? AND +place >= 0"
_RETRY_NOW = f"UPDATE pabal_message SET place = 1 + part, attempt = attempt + 1, errors = ? WHERE {_ROW}"  # noqa: S608
_RETRY_LATER = f"UPDATE pabal_message SET place = -2 - part, due = ?, attempt = attempt + 1, errors = ? WHERE {_ROW}"  # noqa: S608
_PARK = (
    "INSERT INTO pabal_dead (source, name, seq, holds, redrive, attempt, reason, parked, key, channel,"  # noqa: S608
    " message_id, errors, headers, body)"
    " SELECT ?, ?, id, ?, redrive, ?, ?, ?, key, channel, message_id, ?, headers, body"
    f" FROM pabal_message WHERE {_ROW}"
)


def settle(reader: OwnedReader, transaction: Transaction, settled: Sequence[Settled]) -> list[Settlement]:
    """End deliveries; one settlement each."""
    ours, now, lost = reader.fence(transaction), transaction.now, transaction.ended
    done, deleted = Settlement.DONE, End.DONE
    settlements: list[Settlement] = []
    ends: list[tuple[Hold, End]] = []
    gone: list[int] = []
    freed: dict[Part, set[str]] = {}
    for one, hold in zip(settled, leases_of([one.delivery for one in settled], Hold), strict=True):
        outcome = one.outcome
        if hold in lost or hold.deadline <= now or not ours(hold):
            settlements.append(Settlement.LOST)
            continue
        lost.add(hold)
        line = hold.line
        acked = type(outcome) is Acked
        ends.append((hold, deleted if acked else _end(reader, transaction, one.delivery, hold, outcome)))
        if acked or isinstance(outcome, Rejected):
            gone.append(hold.id)
            if line.part.behind and line.key is not None and len(line.rows) <= SHORT:
                freed.setdefault(line.part, set()).add(line.key)
        settlements.append(done)
    if gone:
        transaction.connection.execute(_GONE, (msgspec.json.encode(gone).decode(), reader.grp))
    transaction.remember(reader.stock.ended, ends)
    for part, keys in freed.items():
        lowest = bring_back(transaction.connection, reader.grp, part.number, keys)
        if lowest is not None:
            transaction.remember(reader.stock.returned, part, lowest)
    return settlements


def _end(reader: OwnedReader, transaction: Transaction, delivery: Delivery, hold: Hold, outcome: Outcome) -> End:
    execute, row = transaction.connection.execute, (hold.id, reader.grp)
    match outcome:
        case Retried(after, failure):
            errors = history((*delivery.errors, failure) if failure is not None else delivery.errors)
            if after > 0:
                execute(_RETRY_LATER, (transaction.now + after, errors, *row))
            else:
                execute(_RETRY_NOW, (errors, *row))
            return End.AGAIN
        case Rejected(reason, failure):
            errors = history((*delivery.errors, failure) if failure is not None else delivery.errors)
            holds = reader.parks and reason in HOLDING and hold.line.key is not None
            parked = (reader.grp if holds else None, delivery.attempt, reason, transaction.now, errors)
            execute(_PARK, (reader.source, reader.group, *parked, *row))
            return End.AGAIN if holds else End.DONE
        case Released():
            return End.BACK
        case Acked():
            return End.DONE
