"""The connection to the database, and the one way in which rows are read and written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from farm.store.edge import translated
from farm.store.sqlite import Database

_BUSY_S = 30.0
"""How long a write waits for another process's transaction; theirs last milliseconds."""


class Connected:
    """Something that keeps its rows in the database at `path`. Every write is one transaction."""

    path: Path
    _db: Database

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with translated(self.path):
            # Immediate: a transaction that reads first must not lose a race for the write lock.
            self._db.conn.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()

    def _insert(self, table: str, row: dict[str, Any], conflict: str = "ABORT") -> int:
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        sql = f"INSERT OR {conflict} INTO {table} ({columns}) VALUES ({marks})"
        return int(self._db.conn.execute(sql, list(row.values())).lastrowid or 0)

    def _rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with translated(self.path):
            return list(self._db.query(sql, values))

    def _value(self, sql: str, *values: Any) -> Any:
        with translated(self.path):
            return self._db.conn.execute(sql, values).fetchone()[0]


def connect(path: Path) -> Database:
    """Open the database; what is committed is on the disk."""
    db = Database(sqlite3.connect(path, timeout=_BUSY_S))
    db.conn.execute("PRAGMA synchronous = FULL")
    db.conn.execute("PRAGMA foreign_keys = ON")
    return db
