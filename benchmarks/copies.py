"""Fills a scratch store with copies of what was measured, a million of them in a minute."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path


def copy(folder: Path, copies: Iterable[tuple[str, int]], of_campaign: bool) -> None:
    """Store a measurement more for each pair: of a network (its id), as a measurement that is there
    (its id) says. of_campaign: whether that one's campaign asked for it; else a query did."""
    with closing(sqlite3.connect(folder / "farm.db", isolation_level=None)) as db:
        # What is filled here is thrown away, and need not survive anything.
        for quick in _QUICK:
            db.execute(f"PRAGMA {quick}")
        db.execute("BEGIN")
        db.execute("CREATE TEMP TABLE copies (id INTEGER PRIMARY KEY, network TEXT, of INTEGER)")
        largest = "SELECT max((SELECT max(id) FROM requests), (SELECT max(id) FROM measurements))"
        (last,) = db.execute(largest).fetchone()
        numbered = ((last + n, *pair) for n, pair in enumerate(copies, 1))
        db.executemany("INSERT INTO copies VALUES (?, ?, ?)", numbered)
        asked = {} if of_campaign else {"campaign": "NULL", "purpose": "'query'"}
        for table, new in _RENAMED.items():
            new = new | asked if table == "requests" else new
            own = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(new.get(column, f"{table}.{column}") for column in own)
            db.execute(
                f"""INSERT INTO {table} SELECT {values} FROM copies
                    JOIN measurements ON measurements.id = of
                    {_JOINED.get(table, "")} ORDER BY copies.id"""
            )
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")


_QUICK = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000", "temp_store = MEMORY")

_RENAMED = {
    "requests": {"id": "copies.id", "network": "copies.network"},
    "measurements": {"id": "copies.id", "request": "copies.id", "network": "copies.network"},
    "samples": {"measurement": "copies.id"},
}
_JOINED = {
    "requests": "JOIN requests ON requests.id = request",
    "samples": "JOIN samples ON samples.measurement = measurements.id",
}
