"""The application's own database; only the save handler writes to it.

Messages may come twice and in any order, so every write here gives the same end whichever way they come:
an item is inserted once by its id, the latest tick wins, and a removed item stays as a row that says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Boolean, Column, Float, MetaData, String, Table, event, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from pabal.examples.todo.events import Item

CONNECTIONS = 4

schema = MetaData()
rows = Table(
    "items",
    schema,
    Column("id", String, primary_key=True),
    Column("item", String, nullable=False),
    Column("done", Boolean, nullable=False, default=False),
    Column("removed", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False, index=True),
    Column("ticked", Float, nullable=False, default=0.0),
)
columns = (rows.c.id, rows.c.item, rows.c.done, rows.c.removed)


class Items:
    """The items in a SQLite file. However many handlers run, it has at most `CONNECTIONS` connections.

    Times are seconds since the epoch.
    """

    def __init__(self, path: Path) -> None:
        self._engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)), pool_size=CONNECTIONS, max_overflow=0
        )
        event.listen(self._engine.sync_engine, "connect", _readers_do_not_wait)

    async def open(self) -> None:
        """Make the table where there is none."""
        async with self._engine.begin() as connection:
            await connection.run_sync(schema.create_all)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def add(self, id: str, item: str, created: float) -> Item:
        """Insert an item, once however often it is added; returns it as it is now."""
        new = insert(rows).values(id=id, item=item, created=created)
        async with self._engine.begin() as connection:
            await connection.execute(new.on_conflict_do_nothing())
            return await _read(connection, id)

    async def change(self, id: str, item: str, created: float) -> Item:
        """Give an item another text; when the change comes before the item itself, it makes the item."""
        new = insert(rows).values(id=id, item=item, created=created)
        async with self._engine.begin() as connection:
            await connection.execute(new.on_conflict_do_update(index_elements=["id"], set_={"item": item}))
            return await _read(connection, id)

    async def tick(self, id: str, at: float, *, done: bool) -> Item:
        """Tick an item off, or on again, unless a later tick came first. Raises KeyError when there is none."""
        later = update(rows).where(rows.c.id == id, rows.c.ticked < at).values(done=done, ticked=at)
        async with self._engine.begin() as connection:
            await connection.execute(later)
            return await _read(connection, id)

    async def remove(self, id: str) -> Item:
        """Remove an item. Its row stays, so that the item does not return when its message comes again."""
        async with self._engine.begin() as connection:
            await connection.execute(update(rows).where(rows.c.id == id).values(removed=True))
            return await _read(connection, id)

    async def newest(self, limit: int) -> Sequence[Item]:
        """The newest items that are not removed, newest first."""
        there = select(*columns).where(rows.c.removed.is_(False))
        async with self._engine.connect() as connection:
            found = await connection.execute(there.order_by(rows.c.created.desc(), rows.c.id.desc()).limit(limit))
            return [Item(*row) for row in found]

    async def find(self, ids: Collection[str]) -> Mapping[str, Item]:
        """The items of these ids that are in the database, removed ones too."""
        async with self._engine.connect() as connection:
            found = await connection.execute(select(*columns).where(rows.c.id.in_(ids)))
            return {row.id: Item(*row) for row in found}


async def _read(connection: AsyncConnection, id: str) -> Item:
    row = (await connection.execute(select(*columns).where(rows.c.id == id))).first()
    if row is None:
        raise KeyError(id)
    return Item(*row)


def _readers_do_not_wait(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()
