"""A handler written in another module than the one that registers it."""

from __future__ import annotations

import msgspec


class Item(msgspec.Struct):
    here: int


async def handler(item: Item) -> None: ...
