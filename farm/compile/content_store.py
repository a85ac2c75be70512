"""Folders of files on disk, named by a key, complete or absent, verified whenever they are read.

    ROOT/ab/abcdef.../{FILE..., manifest.json}   an entry; the manifest has the SHA-256 of all
    ROOT/tmp/...                                 entries being written or removed

Safe under concurrent writers and `kill -9`: an entry appears by one rename of a whole folder.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from farm.core.errors import StoreFull
from farm.core.values import digest

_log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_ABANDONED_AFTER_S = 3600.0
"""A writer needs seconds; what is left in ROOT/tmp after an hour belongs to a killed one."""


@dataclass(frozen=True)
class Entry:
    """An intact entry. facts: what its writer put into the manifest."""

    folder: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Size:
    """used_at_s: when an entry's folder was last changed or touched, in seconds since 1970."""

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

    def get(self, key: str) -> Entry | None:
        """An intact entry, or None. A damaged entry is removed, with a warning."""
        folder = self.path(key)
        if not folder.is_dir():
            return None
        try:
            return Entry(folder, _verified(folder))
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            _log.warning("removing damaged entry %s (%s); it will be built again", folder, error)
            self.remove(key)
            return None

    def put(self, key: str, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
        """Write an entry; of two writers of one key the first wins. Raises StoreFull.

        facts: kept in the manifest, as JSON.
        """
        hashes = {name: sha256(content).hexdigest() for name, content in files.items()}
        manifest = {"sha256": hashes, "facts": facts, "facts_sha256": digest(facts)}
        folder = self.path(key)
        with self._scratch() as scratch, _disk_errors(folder):
            for name, content in files.items():
                _write_synced(scratch / name, content)
            _write_synced(scratch / _MANIFEST, json.dumps(manifest, indent=1).encode())
            folder.parent.mkdir(parents=True, exist_ok=True)
            _rename_unless_there(scratch, folder)

    def touch(self, key: str) -> None:
        """Mark an entry as used now."""
        with suppress(FileNotFoundError):
            os.utime(self.path(key))

    def remove(self, key: str) -> None:
        """Make an entry disappear at once, also for other processes that read it."""
        # Another process may have been faster.
        with self._scratch() as scratch, suppress(FileNotFoundError):
            self.path(key).rename(scratch / "removed")

    def sizes(self) -> list[Size]:
        """All entries, without a look at their contents."""
        found = (_size(path) for path in self.root.glob("[0-9a-f][0-9a-f]/*"))
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


def _size(path: Path) -> Size | None:
    """What is known of an entry, or None if it was removed meanwhile."""
    try:
        size_bytes = sum(file.stat().st_size for file in path.iterdir())
        return Size(path.name, size_bytes, path.stat().st_mtime)
    except FileNotFoundError:
        return None


def _verified(folder: Path) -> Mapping[str, Any]:
    """The facts of an entry. Raises one of several errors for a damaged one."""
    manifest = json.loads((folder / _MANIFEST).read_bytes())
    for name, expected in manifest["sha256"].items():
        if sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise ValueError(f"{name} has another SHA-256 than when it was written")
    facts: Mapping[str, Any] = manifest["facts"]
    if digest(facts) != manifest["facts_sha256"]:
        raise ValueError("the manifest has other facts than when it was written")
    return facts


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
