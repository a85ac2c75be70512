"""The rows of a store's database, seen and changed from outside: through a connection of one's own.

What the store offers is tested through what it offers. This is for what it never shows, such as
invalidated results, and for what happens to a database between two runs of the farm.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from farm.store import Store


def rows(store: Store, sql: str, *values: Any) -> list[dict[str, Any]]:
    """What a statement finds, after it is committed."""
    with closing(sqlite3.connect(store.path)) as db, db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql, values)]


def column(store: Store, sql: str, *values: Any) -> list[Any]:
    """As `rows`, of a statement for a single column."""
    return [value for row in rows(store, sql, *values) for value in row.values()]
