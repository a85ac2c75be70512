"""The machines that the farm runs on, and the cores of their processes."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from contextlib import suppress

import psutil


def host_name() -> str:
    """The name of this machine, the same for all its processes; devices and slots carry it."""
    return platform.node()


def set_affinity(cores: Collection[int], pid: int = 0) -> None:
    """Let every thread of a process run on `cores` only; threads that have ended are left out.

    pid: 0 for this process.
    """
    with suppress(psutil.NoSuchProcess):
        for thread in psutil.Process(pid or None).threads():
            with suppress(ProcessLookupError, PermissionError):
                os.sched_setaffinity(thread.id, cores)
