"""Rows of a store that somebody edited or a disk damaged, and the commands that read them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import mutations
from farm import Farm, Launch
from farm.cli.main import main

_CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"

_CONFIG = """\
store: store
references: [a, b]
measure: {min_sessions: 1, max_sessions: 2, rounds: 2, block_s: 0.001}
devices:
  a: {kind: "tests.fakes:FakeAgent"}
  b: {kind: "tests.fakes:FakeAgent", seed: 1}
"""

COMMANDS = (
    *(("campaign", "list"), ("campaign", "show", "c1"), ("campaign", "show", "c1", "--json")),
    *(("export", "--output", "all.csv"), ("compare", "c1", "c2")),
    *(("predict", _CELL, "--device", "a"), ("hwl", _CELL, "--measure", "never")),
    *(("device", "show", "a"), ("device", "health", "a"), ("references", "list")),
    ("campaign", "resume", "c1", "--executor", "inline"),
)


def rows(
    count: int, rng: random.Random, folder: Path
) -> tuple[Sequence[bytes], Callable[..., object]]:
    """Two small campaigns, of which one cell is made wrong at a time, or some bytes of the file."""
    (folder / "cluster.yaml").write_text(_CONFIG)
    farm = Farm.open(folder / "cluster.yaml")
    for _ in range(2):
        asked = Launch(space="nb201", devices=["a", "b"], budget=4, holdout=3, fresh=True)
        farm.launch(asked, "inline")
    right = folder / "right.db"
    with contextlib.closing(sqlite3.connect(folder / "store" / "farm.db")) as db:
        db.execute("VACUUM INTO ?", [str(right)])
        cells = _cells(db)
    made = [json.dumps(_wrong(cells, rng)).encode() for _ in range(count)]

    def read(text: bytes) -> None:
        wrong = json.loads(text)
        shutil.copyfile(right, folder / "store" / "farm.db")
        for name in ("farm.db-wal", "farm.db-shm"):
            (folder / "store" / name).unlink(missing_ok=True)
        _spoil(folder / "store" / "farm.db", wrong)
        os.chdir(folder)
        _run(wrong["command"])

    return made, read


def _cells(db: sqlite3.Connection) -> list[tuple[str, str, int, Any]]:
    """(table, column, row, value) of every cell."""
    found = []
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%STRICT%'"
    for (table,) in db.execute(sql).fetchall():
        key = "rowid" if "WITHOUT ROWID" not in _sql(db, table) else None
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        if key is None or table == "migrations":
            continue
        for row in db.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid LIMIT 40").fetchall():
            found += [(table, c, row[0], v) for c, v in zip(columns, row[1:], strict=True)]
    return found


def _sql(db: sqlite3.Connection, table: str) -> str:
    return str(db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", [table]).fetchone()[0])


def _wrong(cells: Sequence[tuple[str, str, int, Any]], rng: random.Random) -> dict[str, Any]:
    command = rng.choice(COMMANDS)
    if rng.random() < 0.1:
        return {"command": command, "seed": rng.randrange(1 << 30)}
    tables = sorted({cell[0] for cell in cells})
    chosen = rng.choice(tables)
    table, column, row, value = rng.choice([cell for cell in cells if cell[0] == chosen])
    return {"command": command, "at": [table, column, row], "value": _junk(value, rng)}


def _junk(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, str):
        return rng.choice((-1, 0, 2**62, -(2**62), 1e308, -1e-3, 1e-320, None))
    with contextlib.suppress(ValueError):
        tree = json.loads(value)
        if rng.random() < 0.7:
            return json.dumps(mutations.changed(tree, rng))
        return mutations.damaged(value.encode(), rng).decode(errors="replace")
    return rng.choice(("", "x", "a\x1b[2Jb", "nb201/rubbish", "onnx/../x", value + "|", "a" * 3000))


def _spoil(path: Path, wrong: dict[str, Any]) -> None:
    """Puts the wrong value in, unless the database's own rules refuse it."""
    if "at" not in wrong:
        rng, data = random.Random(wrong["seed"]), bytearray(path.read_bytes())
        for _ in range(20):
            data[rng.randrange(100, len(data))] = rng.randrange(256)
        path.write_bytes(data)
        return
    table, column, row = wrong["at"]
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.Error):
        value = wrong["value"]
        value = value.encode(errors="replace").decode() if isinstance(value, str) else value
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [value, row])
        db.commit()


def _run(command: Sequence[str]) -> None:
    """Raises what is no ending of a command."""
    sys.argv = ["farm", *command]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as e:
            if e.code not in (0, 1, 2, None):
                raise AssertionError(f"exit code {e.code}") from e
