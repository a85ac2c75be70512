"""Whether a process that a build needs was killed by somebody, or died of what it did."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

_BY_SOMEBODY = (signal.SIGKILL, signal.SIGTERM)


class Watched:
    """From its making on: whether the system killed anything here for want of memory, which a
    build may have used up."""

    def __init__(self) -> None:
        self._before = _killed_for_memory()

    def by_somebody(self, returncode: int | None) -> bool:
        """Of a process that ended so meanwhile. returncode: as `subprocess.Popen` says it; None for
        one that lives."""
        signalled = returncode is not None and -returncode in _BY_SOMEBODY
        return signalled and _killed_for_memory() == self._before


def _killed_for_memory() -> int:
    """How many processes of this computer were, as proc(5) counts them; 0 where it does not."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
