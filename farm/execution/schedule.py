"""Which activity starts next, on which cores. Pure functions of plain data.

The rules, for each host:
- one device measures at a time, and nothing else of the farm is on its cores meanwhile;
- a build takes one core, any that no measurement uses or waits for;
- a device keeps its turn while it has work, until another has `TURN` requests more: each change
  of turn may first have to wait for builds to leave the cores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

TURN = 8
"""How many more ready requests another device needs to take the turn over."""


@dataclass(frozen=True)
class Place:
    """Cores (logical CPUs) of one host; none for a device outside the farm's hosts."""

    host: str
    cores: frozenset[int]

    def overlaps(self, other: Place) -> bool:
        return self.host == other.host and bool(self.cores & other.cores)


@dataclass(frozen=True)
class Running:
    """What goes on now: `device` is None for a build."""

    place: Place
    device: str | None = None


@dataclass(frozen=True)
class Starts:
    """What to start now: devices that measure their first ready request, slots that build."""

    devices: tuple[str, ...]
    slots: tuple[Place, ...]


def next_starts(
    devices: Mapping[str, Place],
    ready: Mapping[str, int],
    builds: int,
    slots: Sequence[Place],
    running: Collection[Running],
    incumbents: Mapping[str, str],
) -> Starts:
    """Decide what starts now.

    devices: where each device measures.
    ready: for each device, how many of its requests could be measured at once.
    builds: how many builds are wanted.
    slots: the places of a compile actor each, one core or more.
    running: every activity of the farm that goes on.
    incumbents: for each host, the device that measured there last.
    """
    measuring = {activity.device for activity in running if activity.device is not None}
    # Of a thousand devices most are on hosts of their own: each host is looked at by itself.
    waited: dict[str, list[str]] = defaultdict(list)
    for name in sorted(name for name, n in ready.items() if n and name not in measuring):
        waited[devices[name].host].append(name)
    taken: dict[str, list[Place]] = defaultdict(list)
    for activity in running:
        taken[activity.place.host].append(activity.place)
    hosts_measured_on = {a.place.host for a in running if a.device and a.place.cores}
    starts = []
    for host, here in sorted(waited.items()):
        busy = tuple(taken[host])
        turns = [name for name in here if not devices[name].cores]
        sharing = [name for name in here if devices[name].cores]
        if sharing and host not in hosts_measured_on:
            turns.append(_turn(sharing, ready, incumbents.get(host, "")))
        for name in turns:
            taken[host].append(devices[name])  # kept free for it
            if not any(devices[name].overlaps(place) for place in busy):
                starts.append(name)
    free = [s for s in slots if not any(s.overlaps(place) for place in taken[s.host])]
    return Starts(tuple(starts), tuple(free[:builds]))


def _turn(sharing: Sequence[str], ready: Mapping[str, int], incumbent: str) -> str:
    """Which of the devices of a host that measure on its cores is next."""
    best = max(sharing, key=lambda name: ready[name])
    if incumbent in sharing and ready[best] < ready[incumbent] + TURN:
        return incumbent
    return best


def housekeeping_cores(
    host: Collection[int], measured: Sequence[Collection[int]]
) -> frozenset[int]:
    """The cores for everything of the farm that neither builds nor measures.

    host: all cores there are; measured: the cores of each device. The cores that the fewest
    devices measure on: none where that can be had.
    """
    users = {core: sum(core in cores for cores in measured) for core in host}
    return frozenset(core for core, n in users.items() if n == min(users.values()))


def eta_s(elapsed_s: float, done: int, left: int) -> float | None:
    """Seconds that `left` more take at the pace so far; None before the first is done."""
    return elapsed_s / done * left if done else None
