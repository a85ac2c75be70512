"""Where a connection over SSH is retried: a device that was lost may be booting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from farm.core.errors import DeviceLost

RECONNECT_S = 45.0
"""How long a device that was lost is waited for; a Raspberry Pi boots in 20 to 30 s."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0

_T = TypeVar("_T")


def patiently(attempt: Callable[[], _T], patience_s: float) -> _T:
    """What `attempt` returns; one that raises DeviceLost is made again, in longer intervals.

    patience_s: the last attempt begins within that time.
    """
    deadline_s, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
    while True:
        try:
            return attempt()
        except DeviceLost:
            if time.monotonic() + pause_s > deadline_s:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
