"""What owners of parts have to know of what others committed."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

_EPOCHS = "SELECT value FROM pabal_meta WHERE name IN ('members', 'stirred') ORDER BY name"


class News(NamedTuple):
    """The epochs of membership, and of what became ready again."""

    members: int = 0
    stirred: int = 0


def read_news(connection: sqlite3.Connection) -> News:
    """The epochs as they are."""
    return News(*(value for (value,) in connection.execute(_EPOCHS).fetchall()))
