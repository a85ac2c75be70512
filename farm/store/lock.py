"""One process at a time measures into a store. The kernel drops the lock with its holder, so it
can never be stale."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from farm.core.errors import StoreBusy
from farm.store.edge import translated


class StoreLock:
    """A context manager that holds the store in `folder`; raises StoreBusy."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._fd: int | None = None

    def __enter__(self) -> StoreLock:
        with translated(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 100).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise StoreBusy(
                f"{self._path.parent} is in use by process {holder}; wait for it, "
                "cancel its campaign with `farm campaign cancel ID`, or name another --store"
            ) from None
        self._fd = fd
        with translated(self._path):
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
