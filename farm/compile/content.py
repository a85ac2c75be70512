"""Folders of files on disk, named by a key, complete or absent, verified whenever they are read.

    ROOT/ab/abcdef.../{FILE..., manifest.json}   an entry; the manifest has each file's SHA-256
    ROOT/tmp/...                                 entries being written or removed

Safe under concurrent writers and `kill -9`: an entry appears by one rename of a synced folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from farm.errors import StoreFull

_log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_ABANDONED_AFTER_S = 3600.0
"""A writer needs seconds; what is left in ROOT/tmp after an hour belongs to a killed one."""


@dataclass(frozen=True)
class Entry:
    """used_at_s: when the entry's folder was last changed or touched, in seconds since 1970."""

    key: str
    size_bytes: int
    used_at_s: float


class ContentStore:
    """Entries under `root`, a folder that is made when it is first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Where the entry of `key` is, or would be."""
        return self.root / key[:2] / key

    def get(self, key: str) -> Path | None:
        """The folder of an intact entry, or None. A damaged entry is removed, with a warning."""
        entry = self.path(key)
        if not entry.is_dir():
            return None
        damage = _damage(entry)
        if damage is None:
            return entry
        _log.warning("removing damaged entry %s (%s); it will be built again", entry, damage)
        self.remove(key)
        return None

    def put(self, key: str, files: Mapping[str, bytes]) -> Path:
        """Write an entry; of two writers of one key the first wins. Raises StoreFull."""
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        manifest = json.dumps({"sha256": hashes}, indent=1).encode()
        entry = self.path(key)
        with self._scratch() as scratch, _disk_errors(entry):
            for name, content in {**files, _MANIFEST: manifest}.items():
                _write_synced(scratch / name, content)
            entry.parent.mkdir(parents=True, exist_ok=True)
            _rename_unless_there(scratch, entry)
            _sync_folder(entry.parent)
        return entry

    def remove(self, key: str) -> None:
        """Make an entry disappear at once, also for other processes that read it."""
        # Another process may have been faster.
        with self._scratch() as scratch, suppress(FileNotFoundError):
            self.path(key).rename(scratch / "removed")

    def sizes(self) -> list[Entry]:
        """All entries, without a look at their contents."""
        found = (_entry(path) for path in self.root.glob("[0-9a-f][0-9a-f]/*"))
        return [entry for entry in found if entry is not None]

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        folder = self.root / "tmp"
        with _disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(folder)
            scratch = Path(tempfile.mkdtemp(dir=folder))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _entry(path: Path) -> Entry | None:
    """What is known of an entry, or None if it was removed meanwhile."""
    try:
        size_bytes = sum(file.stat().st_size for file in path.iterdir())
        return Entry(path.name, size_bytes, path.stat().st_mtime)
    except FileNotFoundError:
        return None


def _damage(entry: Path) -> str | None:
    """What is wrong with an entry, or None."""
    try:
        hashes = json.loads((entry / _MANIFEST).read_bytes())["sha256"]
        for name, expected in hashes.items():
            if hashlib.sha256((entry / name).read_bytes()).hexdigest() != expected:
                return f"{name} has another SHA-256 than when it was written"
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _rename_unless_there(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.iterdir():
        try:
            abandoned = time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S
        except FileNotFoundError:
            continue
        if abandoned:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreFull(f"no room left on the disk for {path}; free some and run again") from error
