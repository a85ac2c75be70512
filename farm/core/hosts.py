"""The machines that the farm runs on, and the cores of their processes."""

from __future__ import annotations

import errno
import getpass
import os
import platform
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

from farm.core.errors import UsageError


def host_name() -> str:
    """The name of this machine, the same for all its processes; devices and slots carry it."""
    return platform.node()


ASKED_BY = "FARM_ASKED_BY"
"""The environment variable with the person for whom a service runs a process."""


def person() -> str:
    """For whom this process works: who a service says, else the user of this computer."""
    if told := os.environ.get(ASKED_BY):
        return told
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        return str(os.getuid())


def use_ray_token() -> None:
    """Let Ray show its token wherever there is one, as `ray start` does: a cluster that asks for it
    answers nobody else, one that does not ignores it. Where Ray was imported before, it has read
    its settings, and another one would only confuse it."""
    if "ray" in sys.modules:
        return
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    kept = os.path.expanduser("~/.ray/auth_token")  # noqa: PTH111 - there may be no home
    if named or os.access(kept, os.R_OK):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def process_mark() -> str:
    """What tells this process from all others of this computer that ever have its pid: the boot,
    the namespace of pids, and when it started."""
    return f"{_boot()}:{_pids()}:{_stat(os.getpid())[1]}"


def is_gone(host: str, pid: int, mark: str) -> bool:
    """Whether a process is known to have ended; see `lives`."""
    return lives(host, pid, mark) is False


def lives(host: str, pid: int, mark: str) -> bool | None:
    """Whether a process runs; None for one that is stopped, or cannot be seen from here.

    mark: its `process_mark`.
    """
    boot, pids, started = mark.split(":")
    if boot != _boot():
        return False if host == host_name() else None  # this computer has started again since
    if pids != _pids():
        return None
    try:
        state, its_start = _stat(pid)
    except OSError:
        return None if psutil.pid_exists(pid) else False  # what others run may be hidden
    if state in "ZX" or its_start != started:
        return False
    return None if state in "Tt" else True


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pids() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _stat(pid: int) -> tuple[str, str]:
    """A process's state, and when it started in ticks since the boot."""
    # The name before them is in brackets, and may hold any character.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]


def cache_folder() -> Path:
    """Where this computer keeps what can be made again: `$XDG_CACHE_HOME`, else `~/.cache`.

    It is made where it is missing. Raises UsageError where it cannot be written.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = Path(home).absolute() / "latency-farm"
    try:
        make_writable(folder, mode=0o700)
    except OSError as e:
        raise UsageError(
            f"the cache {folder} cannot be written: {e.strerror}; name a folder that can be in "
            "the environment variable XDG_CACHE_HOME"
        ) from e
    return folder


def make_writable(folder: Path, mode: int = 0o777) -> None:
    """Make a folder where it is missing. Raises OSError where it cannot be made, or nothing can be
    written to it."""
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def set_affinity(cores: Collection[int], pid: int = 0) -> None:
    """Let every thread of a process run on `cores` only; threads that have ended are left out.

    pid: 0 for this process.
    """
    with suppress(psutil.NoSuchProcess):
        for thread in psutil.Process(pid or None).threads():
            with suppress(ProcessLookupError, PermissionError):
                os.sched_setaffinity(thread.id, cores)
