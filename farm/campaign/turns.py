"""Whose turn it is on the cores of a computer, among all processes of the farm."""

from __future__ import annotations

import time
from collections.abc import Collection

from farm.execution.schedule import Running
from farm.store import Holding, core_thing, cores_thing
from farm.store.holding import POLL_S, Claim


class Turns:
    """One run's turns: `farm.execution.schedule` says what this process does at a time, and these
    that no other process measures on the same computer meanwhile, or builds on the same cores.

    What uses no cores needs no turn.
    """

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._claims: dict[Running, Claim] = {}

    @property
    def awaited(self) -> bool:
        """Whether another process is where this one wants to measure or build."""
        return any(not claim.granted for claim in self._claims.values())

    def want(self, activities: Collection[Running]) -> None:
        """Give back the turns of all others."""
        for activity in [one for one in self._claims if one not in activities]:
            self.end(activity)

    def has(self, activity: Running) -> bool:
        """Whether it may start now; where it may not, its place in the queue is kept."""
        things = _things(activity)
        if not things:
            return True
        if activity not in self._claims:
            self._claims[activity] = self._holding.ask(*things)
        return self._holding.has(self._claims[activity])

    def wait(self) -> None:
        """Wait for a moment. The next turn comes within seconds: nothing is said of it."""
        time.sleep(POLL_S)

    def end(self, activity: Running) -> None:
        """It is over, and what came of it is stored."""
        if activity in self._claims:
            self._holding.give_back(self._claims.pop(activity))


def _things(activity: Running) -> list[str]:
    place, cores = activity.place, sorted(activity.place.cores)
    if activity.device is None and len(cores) > 1:  # it may be on any of them
        return [cores_thing(place.host)]
    own = [core_thing(place.host, core) for core in cores]
    return [cores_thing(place.host), *own] if cores and activity.device else own
