"""Where errors of SQLite and of the disk become errors of the farm."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from farm.core.checks import plain
from farm.core.errors import StoreBusy, StoreError, StoreFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StoreFull, StoreBusy or StoreError for what sqlite3 and the system raise inside."""
    try:
        yield
    except sqlite3.Error as e:
        # Python's own errors, of a text that is no UTF-8, have no code.
        code = getattr(e, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
            raise _full(path) from e
        if code & 0xFF == sqlite3.SQLITE_BUSY:
            raise StoreBusy(
                f"{path} is being written by another process, which does not end; look for one "
                "that was stopped, then run the command again"
            ) from e
        if code & 0xFF == sqlite3.SQLITE_READONLY:
            raise StoreError(
                f"{path} cannot be written here; name another folder with --store"
            ) from e
        reason = plain(str(e))
        raise StoreError(f"{path}: {reason}; look whether it is a store of the farm") from e
    except UnicodeDecodeError as e:  # of a column's name, in a file that is damaged
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


_log = logging.getLogger(__name__)

Row = dict[str, Any]
_Value = TypeVar("_Value")

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a row raises that somebody edited, or that lost a part: JSON that is none, numbers that no
measurement has."""

_told: set[tuple[str, object]] = set()
"""Rows that a person was warned of already, in this process."""


def readable(
    found: Iterable[Row], what: str, read: Callable[[Row], _Value]
) -> list[tuple[Row, _Value]]:
    """Each row with what `read` makes of it. A damaged one is left out, with a warning.

    what: the rows are, in a message; a row is named by its first column.
    """
    pairs = []
    for row in found:
        try:
            pairs.append((row, read(row)))
        except UNREADABLE as e:
            warn(what, next(iter(row.values()), None), e)
    return pairs


def warn(what: str, name: object, error: Exception) -> None:
    """That something in the store is left out, once."""
    if (what, name) not in _told:
        _told.add((what, name))
        reason = plain(f"{type(error).__name__}: {error}")[:200]
        _log.warning("%s %s in the store is damaged and left out: %s", what, name, reason)
