"""The machines that the farm runs on, and the cores of their processes."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil


def host_name() -> str:
    """The name of this machine, the same for all its processes; devices and slots carry it."""
    return platform.node()


def cache_folder() -> Path:
    """Where this computer keeps what can be made again: `$XDG_CACHE_HOME`, else `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "latency-farm"


def set_affinity(cores: Collection[int], pid: int = 0) -> None:
    """Let every thread of a process run on `cores` only; threads that have ended are left out.

    pid: 0 for this process.
    """
    with suppress(psutil.NoSuchProcess):
        for thread in psutil.Process(pid or None).threads():
            with suppress(ProcessLookupError, PermissionError):
                os.sched_setaffinity(thread.id, cores)
