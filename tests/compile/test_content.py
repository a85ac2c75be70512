"""Entries on disk: complete or absent, whatever happens to writers and to the disk."""

from __future__ import annotations

import errno
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farm.compile.content_store import ContentStore, Entry
from farm.core.errors import StoreFull

KEY = "ab" + "0" * 62
FILES = {"a": b"first", "b": bytes(range(256)) * 1000}

WRITER = """
import sys
import time
from pathlib import Path
from farm.compile.content_store import ContentStore
store = ContentStore(Path(sys.argv[1]))
content = bytes([int(sys.argv[2])]) * 300_000
store.put("ab" + "0" * 62, {"a": content, "b": content}, {})
print("ready", flush=True)
while True:
    store.put("ab" + "0" * 62, {"a": content, "b": content}, {})
    time.sleep(0.01)
    store.remove("ab" + "0" * 62)
"""


FACTS = {"size": 3, "names": ["a", "b"]}


def read(entry: Entry | None) -> dict[str, bytes] | None:
    return entry and {name: (entry.folder / name).read_bytes() for name in FILES}


def test_returns_what_was_put(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    assert store.get(KEY) is None
    store.put(KEY, FILES, FACTS)
    entry = store.get(KEY)
    assert read(entry) == FILES
    assert entry is not None
    assert entry.facts == FACTS


def test_the_first_writer_of_a_key_wins(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    store.put(KEY, FILES, FACTS)
    store.put(KEY, {"a": b"other", "b": b"other"}, {})
    assert read(store.get(KEY)) == FILES
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "manifest", "facts"])
def test_a_damaged_entry_is_removed_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = ContentStore(tmp_path)
    store.put(KEY, FILES, FACTS)
    file = store.path(KEY) / "b"
    if damage == "truncate":
        os.truncate(file, 1000)
    elif damage == "flip":
        file.write_bytes(b"x" + file.read_bytes()[1:])
    elif damage == "delete":
        file.unlink()
    elif damage == "manifest":
        (file.parent / "manifest.json").write_text('{"sha256"')
    else:
        manifest = file.parent / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"size": 3', '"size": 4'))
    with caplog.at_level(logging.WARNING):
        assert store.get(KEY) is None
    assert str(file.parent) in caplog.text
    store.put(KEY, FILES, FACTS)
    assert read(store.get(KEY)) == FILES


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store = ContentStore(tmp_path)
    with pytest.raises(StoreFull, match=str(tmp_path)):
        store.put(KEY, FILES, FACTS)
    monkeypatch.undo()
    assert store.get(KEY) is None
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_no_torn_entry_from_writers_that_are_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two processes put and remove one key all the time; one after the other is killed.

    Until four kills left an entry behind.
    """
    store, found, draw = ContentStore(tmp_path), 0, random.Random(0)
    for _ in range(40):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), n], stdout=subprocess.PIPE
            )
            for n in ("1", "2")
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        time.sleep(draw.uniform(0, 0.05))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
        entry = store.get(KEY)
        contents = read(entry)
        if contents is not None:
            found += 1
            assert contents["a"] == contents["b"]
            assert set(contents["a"]) in ({1}, {2})
        if found == 4:
            break
    assert found == 4
    assert not caplog.records, "an entry was damaged, and removed"
