"""The machines that the farm runs on, and the cores of their processes."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

from farm.core.errors import UsageError


def host_name() -> str:
    """The name of this machine, the same for all its processes; devices and slots carry it."""
    return platform.node()


def cache_folder() -> Path:
    """Where this computer keeps what can be made again: `$XDG_CACHE_HOME`, else `~/.cache`.

    It is made where it is missing. Raises UsageError where it cannot be written.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = Path(home).absolute() / "latency-farm"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as e:
        raise UsageError(
            f"the cache {folder} cannot be written: {e.strerror}; name a folder that can be in "
            "the environment variable XDG_CACHE_HOME"
        ) from e
    return folder


def set_affinity(cores: Collection[int], pid: int = 0) -> None:
    """Let every thread of a process run on `cores` only; threads that have ended are left out.

    pid: 0 for this process.
    """
    with suppress(psutil.NoSuchProcess):
        for thread in psutil.Process(pid or None).threads():
            with suppress(ProcessLookupError, PermissionError):
                os.sched_setaffinity(thread.id, cores)
