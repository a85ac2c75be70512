"""Whose turn it is on the cores of a computer, among all processes of the farm."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from farm.execution.schedule import Place
from farm.store import Holding, cores_thing
from farm.store.holding import Claim


class Turns:
    """One run's turns: `farm.execution.schedule` says what this process does at a time, and these
    that no other process measures on the same computer meanwhile.

    places: where each device measures; one without cores needs no turn.
    """

    def __init__(self, holding: Holding, places: Mapping[str, Place]) -> None:
        self._holding = holding
        self._hosts = {device: place.host for device, place in places.items() if place.cores}
        self._claims: dict[str, Claim] = {}

    @property
    def awaited(self) -> bool:
        """Whether another process measures where this one wants to."""
        return any(not claim.granted for claim in self._claims.values())

    def want(self, devices: Collection[str]) -> None:
        """Give back the turns of computers on which none of these devices measures."""
        hosts = {self._hosts.get(device) for device in devices}
        for host in self._claims.keys() - hosts:
            self._holding.give_back(self._claims.pop(host))

    def has(self, device: str) -> bool:
        """Whether a device may measure now; where it may not, its place in the queue is kept."""
        host = self._hosts.get(device)
        if host is None:
            return True
        if host not in self._claims:
            self._claims[host] = self._holding.ask(cores_thing(host))
        return self._holding.has(self._claims[host])

    def wait(self) -> None:
        """Wait for a moment."""
        self._holding.wait(*self._claims.values())

    def end(self, device: str) -> None:
        """A device has measured, and what came of it is stored."""
        if device in self._hosts:
            self._holding.give_back(self._claims.pop(self._hosts[device]))
