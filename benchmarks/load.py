"""What every benchmark sends: a JSON object of about 200 bytes, read as a Struct."""

from __future__ import annotations

import json
from typing import Any

import msgspec

CHANNEL = "bench.orders.placed"
GROUP = "bench"
BATCH = 100


class Order(msgspec.Struct):
    """The payload; `placed` is the time of publishing by the machine's monotonic clock, where that is measured."""

    id: int
    customer: str
    items: list[str]
    total: float
    address: str
    placed: float = 0.0


ORDERS = [
    Order(
        id=1_000_000 + number,
        customer=f"customer-{number:06}",
        items=["green tea, 200 g", "cup", "kettle, 1.2 l", "tray"],
        total=42.5 + number,
        address=f"{number} Relay Post Road, Hanyang",
    )
    for number in range(BATCH)
]
"""One batch, sent again and again."""

DICTS: list[dict[str, Any]] = [json.loads(msgspec.json.encode(order)) for order in ORDERS]
"""The same orders for those who know no Struct."""

decode_order = msgspec.json.Decoder(Order).decode
encode_order = msgspec.json.Encoder().encode


class Tally:
    """The work of every handler: it counts, and knows when the last message was there."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.count = 0

    def note(self, order: Order | dict[str, Any]) -> None:
        """One more."""
        self.count += 1

    @property
    def full(self) -> bool:
        """Whether all have come."""
        return self.count >= self.total
