"""Where errors of SQLite and of the disk become errors of the farm."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.core.errors import StoreBusy, StoreError, StoreFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StoreFull, StoreBusy or StoreError for what sqlite3 and the system raise inside."""
    try:
        yield
    except sqlite3.Error as e:
        if e.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
            raise _full(path) from e
        if e.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise StoreBusy(
                f"{path} is being written by another process, which does not end; look for one "
                "that was stopped, then run the command again"
            ) from e
        if e.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
            raise StoreError(
                f"{path} cannot be written here; name another folder with --store"
            ) from e
        raise StoreError(f"{path}: {e}; look whether it is a store of the farm") from e
    except OSError as e:
        if e.errno in _NO_ROOM:
            raise _full(path) from e
        raise StoreError(f"{path}: {e.strerror}; name another folder with --store") from e


def _full(path: Path) -> StoreFull:
    return StoreFull(
        f"no room on the disk of {path}; what was measured is kept: "
        "free some space, then run `farm campaign resume latest`"
    )
