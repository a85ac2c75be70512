"""Keeps the service off the cores that somebody measures on."""

from __future__ import annotations

import asyncio
import os

from farm.core.hosts import host_name, set_affinity
from farm.store import Store, core_thing

_LOOK_S = 0.5

CORES = frozenset(os.sched_getaffinity(0))
"""That this process was given, before it stood back."""


def free_cores(store: Store) -> frozenset[int]:
    """The cores that no process of the farm measures or builds on, by itself; all of them where
    there is none."""
    held = {one.thing for one in store.leases() if one.token is not None}
    return frozenset(c for c in CORES if core_thing(host_name(), c) not in held) or CORES


async def stand_back(store: Store) -> None:
    """Do so until it is cancelled."""
    now = CORES
    while True:
        await asyncio.sleep(_LOOK_S)
        free = free_cores(store)
        if free != now:
            set_affinity(free)
            now = free
