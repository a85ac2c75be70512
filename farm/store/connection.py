"""The connection to the database, and the one way in which rows are read and written."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from farm.store.edge import translated
from farm.store.sqlite import Database

_BUSY_S = 30.0
"""How long a write waits for another process's transaction; theirs last milliseconds."""

PART = 200
"""Rows that are read at a time where memory is not to hold all."""


class Connected:
    """Something that keeps its rows in the database at `path`. Every write is one transaction."""

    path: Path
    _db: Database
    _writable: bool

    def _fence(self) -> None:
        """Within a transaction: raise LeaseLost where we hold no longer what we did."""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._transaction():
            self._fence()
            yield

    def together(self) -> AbstractContextManager[None]:
        """All that is written within is one transaction: it costs what one write costs."""
        return self._writing()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.conn.in_transaction:
            yield  # the one around it commits
            return
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

    def _in_parts(self, sql: str, values: Sequence[Any]) -> Iterator[list[dict[str, Any]]]:
        """Rows a part at a time: what is stored may be more than memory holds."""
        with translated(self.path):
            found = self._db.query(sql, values)
            while part := list(islice(found, PART)):
                yield part

    def _value(self, sql: str, *values: Any) -> Any:
        with translated(self.path):
            return self._db.conn.execute(sql, values).fetchone()[0]


def connect(path: Path) -> Database:
    """Open the database; what is committed is on the disk."""
    db = Database(sqlite3.connect(path, timeout=_BUSY_S))
    db.conn.execute("PRAGMA synchronous = FULL")
    db.conn.execute("PRAGMA foreign_keys = ON")
    return db


def writable(path: Path) -> bool:
    """Whether SQLite can work as it does: with two files beside the database, too."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def connect_to_read(path: Path) -> Database:
    """Open a database that cannot be written here, as on a read-only disk."""
    try:
        return _opened(path, "mode=ro")
    except sqlite3.OperationalError:
        # Nobody has it open, and SQLite may not make the files that it shares with other readers.
        wal = path.with_name(f"{path.name}-wal")
        if not wal.exists() or wal.stat().st_size == 0:
            return _opened(path, "immutable=1")
        return _copied(path, wal)


def _opened(path: Path, how: str) -> Database:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_BUSY_S)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return Database(connection)


def _copied(path: Path, wal: Path) -> Database:
    """The database in memory, with what a killed process had committed beside it."""
    with TemporaryDirectory(prefix="farm-store-") as folder:
        for file in (path, wal):
            shutil.copyfile(file, Path(folder) / file.name)
        here, memory = sqlite3.connect(Path(folder) / path.name), sqlite3.connect(":memory:")
        here.backup(memory)
        here.close()
    memory.execute("PRAGMA query_only = ON")
    return Database(memory)
