"""A store that can be read and not written: on a read-only disk, in a folder of somebody else."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from farm.core.errors import StoreError
from farm.store import Store
from farm.store.connection import connect_to_read
from tests.system import lack

ROOT = Path(__file__).parents[2]
CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"

READS = (
    ("campaign", "list"),
    ("campaign", "show", "c1"),
    ("hwl", CELL, "--measure", "never"),
    ("hwl", CELL),
    ("device", "list"),
    ("device", "show", "a"),
    ("export", "--output", "/dev/shm/{pid}.csv"),
    ("compare", "c1", "c2"),
)
WRITES = (
    ("campaign", "cancel", "c1"),
    ("campaign", "resume", "c1", "--executor", "inline", "--again", "ok"),
    ("device", "quarantine", "a", "--reason", "hot"),
    ("launch", "--devices", "a", "--budget", "3", "--executor", "inline"),
    ("hwl", CELL, "--measure", "always"),
)


@pytest.fixture
def on_read_only_disk(tmp_path):
    """Runs `farm` with the folder of the test mounted read-only: (exit code, stdout, stderr)."""
    mounted = 'mount --bind -o ro . . && cd . && cd $PWD && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", mounted, "sh"]
    if subprocess.run([*prefix, "true"], cwd=tmp_path, capture_output=True).returncode:
        lack("no read-only mount can be made here: `unshare -m` needs root and its rights")

    def run(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-c", "from farm.cli import main; main()", *words]
        path = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        environment = {**os.environ, **path}
        done = subprocess.run(
            [*prefix, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.slow
def test_what_only_reads_works_on_a_read_only_disk(farm, on_read_only_disk, tmp_path):
    for _ in range(2):
        farm("launch", "--devices", "a", "--budget", "5", "--holdout", "4", "--executor", "inline")
    farm("hwl", CELL)
    before = sorted(path.name for path in (tmp_path / "results").iterdir())
    for words in READS:
        code, out, err = on_read_only_disk(*(word.format(pid=os.getpid()) for word in words))
        assert (code, err) == (0, ""), words
        assert out
    Path(f"/dev/shm/{os.getpid()}.csv").unlink()
    for words in WRITES:
        code, out, err = on_read_only_disk(*words)
        assert (code, out) == (1, ""), words
        assert len(err.splitlines()) == 1, err
        assert "name another folder with --store" in err
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == before


def _unfinished(folder: Path) -> None:
    """A store whose last campaign is in the write-ahead log only, as a killed process leaves it."""
    with Store(folder / "store") as store:
        store.quarantine("a", "first", manual=True)
        connection = sqlite3.connect(store.path)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE quarantines SET reason = 'hot'")
        connection.commit()
        (folder / "killed").mkdir()
        for name in ("farm.db", "farm.db-wal"):
            shutil.copyfile(folder / "store" / name, folder / "killed" / name)
        connection.close()


def test_what_a_killed_process_had_committed_is_read(tmp_path, monkeypatch):
    _unfinished(tmp_path)
    monkeypatch.setattr("farm.store.store.writable", lambda _: False)
    opened = sqlite3.connect

    def connect(path, **options):
        """As SQLite does where it can make no file: root may make one anywhere."""
        if "mode=ro" in str(path):
            raise sqlite3.OperationalError("unable to open database file")
        return opened(path, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    with Store(tmp_path / "killed", create=False) as store:
        assert store.quarantined("a").reason == "hot"
        with pytest.raises(StoreError, match="cannot be written here; name another folder"):
            store.release("a")
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == ["farm.db", "farm.db-wal"]


def test_a_store_of_an_earlier_farm_must_be_migrated_where_it_can_be_written(tmp_path, monkeypatch):
    older = Path(__file__).parent / "older" / "before-the-house.sql"
    with sqlite3.connect(tmp_path / "farm.db") as db:
        db.executescript(older.read_text())
    db.close()
    monkeypatch.setattr("farm.store.store.writable", lambda _: False)
    with pytest.raises(StoreError, match="earlier version of the farm and cannot be written here"):
        Store(tmp_path, create=False)
    assert [path.name for path in tmp_path.iterdir()] == ["farm.db"]


def test_no_write_gets_through(tmp_path):
    with Store(tmp_path):
        pass
    db = connect_to_read(tmp_path / "farm.db")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.conn.execute("DELETE FROM campaigns")
    db.close()
