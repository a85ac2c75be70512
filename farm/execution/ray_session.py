"""Connects this process with Ray: with a cluster that others started, or with one of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import stat
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import RayError

from farm.core.errors import DeviceLost, UsageError
from farm.core.hosts import host_name, is_gone, process_mark

_LONGEST_FOLDER = 25
"""Of the 107 characters that the path of a socket may have; the rest of it has 82 at most:
/ray-a1b2c3d4/r/session_2026-11-27_09-25-31_123456_1234567/sockets/plasma_store.1"""

_NEEDED = ("raylet", "gcs_server")
"""Processes of Ray without which nothing works."""

_OWNER = "owner"
"""The file that says which process a folder is of."""

_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")

_LOOK_S = 0.2
"""How often the thread that takes SIGTERM looks whether it is still needed."""

_OBJECT_STORE_BYTES = 256 * 1024 * 1024
"""Artifacts are under a megabyte and few travel at a time."""


class Session:
    """This process as a driver of Ray, until it is closed."""

    def __init__(self, address: str | None, cores: int, resources: Mapping[str, int]) -> None:
        """address: of a running cluster, or None to start one here, with so many cores and these
        resources. Raises UsageError where that cannot be had."""
        self._folder = None if address else _own_folder(Path(_short_folder()))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Else Ray starts a worker for each core, which nothing here would ask for anything.
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
        if address is None and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
            # Else Ray makes one and keeps it in a home that there may not be.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
        where = {"address": address} if address else self._of_our_own(cores, resources)
        try:
            with warnings.catch_warnings(), _own_sigterm():
                warnings.simplefilter("ignore")
                ray.init(**where, log_to_driver=False, logging_level="ERROR")
        except BaseException as e:
            self.close()
            if isinstance(e, (RayError, OSError, ValueError, RuntimeError)):
                raise _refused(address, e) from e
            raise
        own = [] if address else psutil.Process().children()
        self._needed = [process for process in own if process.name() in _NEEDED]

    def must_live(self) -> None:
        """Raises DeviceLost where a process of the Ray that was started here has died: all that is
        asked of it would fail, and nothing of that is the fault of what was asked."""
        for process in self._needed:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise DeviceLost(
                    "the Ray that was started here died; nothing is lost, and "
                    "`farm campaign resume latest` goes on"
                )

    def close(self) -> None:
        """End what was started here, and leave what others started."""
        ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _of_our_own(self, cores: int, resources: Mapping[str, int]) -> dict[str, Any]:
        return {
            "address": "local",
            "include_dashboard": False,
            "num_cpus": cores,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "resources": dict(resources),
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": f"{self._folder}/r",
        }


def _own_folder(where: Path) -> str:
    """A new folder, for this user alone. Those of processes that were killed are deleted."""
    for owner in where.glob(f"ray-*/{_OWNER}"):
        with suppress(OSError, ValueError):
            if _is_ours(owner.parent) and _has_ended(owner.read_text()):
                shutil.rmtree(owner.parent, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix="ray-", dir=where)
    Path(folder, _OWNER).write_text(f"{os.getpid()} {process_mark()}")
    return folder


def _has_ended(owner: str) -> bool:
    pid, mark = owner.split()
    return is_gone(host_name(), int(pid), mark)


def _is_ours(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _refused(address: str | None, error: Exception) -> UsageError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if address is None:
        return UsageError(f"Ray does not start here: {reason}; --executor inline does without it")
    return UsageError(
        f"no Ray cluster at {address!r}: {reason}; "
        "look at `ray:` in cluster.yaml and at `ray status`"
    )


def _short_folder() -> str:
    """Where a folder of our own is made around Ray's, which Ray lets every user write to: where
    the paths of its sockets are no longer than the system allows."""
    asked = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    for folder in (asked, *_SHORT_FOLDERS):
        if len(os.fsencode(folder)) <= _LONGEST_FOLDER and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UsageError(
        f"Ray's sockets need a folder of at most {_LONGEST_FOLDER} characters, got {asked}; "
        "name one in the environment variable RAY_TMPDIR"
    )


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Lets SIGTERM do what it did before, at once: Ray takes it for itself while it starts, its
    library in C++ prints a stack, and a start whose processes were ended waits for a minute."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, started = signal.getsignal(signal.SIGTERM), threading.Event()

    def watch() -> None:
        while not started.is_set():
            if signal.sigtimedwait({signal.SIGTERM}, _LOOK_S) and callable(before):
                before(signal.SIGTERM, None)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    watching = threading.Thread(target=watch, daemon=True)
    if callable(before):  # else it waits until Ray has started
        watching.start()
    try:
        yield
    finally:
        started.set()
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if watching.ident is not None:
            watching.join()
        _take_sigterm()


def _take_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


# Ray's processes are forked meanwhile, and are themselves ended by SIGTERM.
os.register_at_fork(after_in_child=_take_sigterm)
