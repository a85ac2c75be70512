"""The compile actors of a Ray cluster, whose machines come and go."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from farm.core.hosts import host_name
from farm.execution.actors import Builder
from farm.execution.schedule import Place

SHUNNED_S = 60.0
"""For how long nothing is built where a compile actor died, if there is another place: its node may
be dead, which a cluster takes half a minute to see."""

NODES_S = 5.0
"""How often is looked for nodes of a cluster that died or joined."""

# One thread for each compile actor, and no pinning by TVM: the schedule gives out the cores.
_ENV = {"TVM_NUM_THREADS": "1", "TVM_BIND_THREADS": "0", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class _Node:
    """A machine of the Ray cluster."""

    id: str
    host: str
    cores: tuple[int, ...]


@dataclass(frozen=True)
class _Started:
    """A compile actor, and the id of its node."""

    node: str
    actor: Any


class Builders:
    """A compile actor for each core of each machine that is alive; each starts when it is used."""

    def __init__(
        self, artifacts: Path, workers: int | None, own_cores: Collection[int] | None
    ) -> None:
        """artifacts: a folder on this computer. workers: at most so many actors on a host.
        own_cores: of this computer, where Ray runs on no other; None for a cluster."""
        self._artifacts = artifacts
        self._workers = workers
        self._own_cores = own_cores
        self._probes: dict[str, Any] = {}
        self._known: dict[str, _Node] = {}
        self._nodes: dict[str, _Node] = {}
        self._slots: Sequence[Place] = ()
        self._started: dict[Place, _Started] = {}
        self._shunned: dict[Place, float] = {}
        self._looked_s = 0.0

    @property
    def slots(self) -> Sequence[Place]:
        """Where something can be built; not where an actor died just now, if there are others."""
        now_s = time.monotonic()
        fine = [slot for slot in self._slots if self._shunned.get(slot, 0.0) <= now_s]
        return fine or self._slots

    def at(self, slot: Place) -> Any:
        """The compile actor of a slot; importing TVM takes seconds, so it stays."""
        if slot not in self._started:
            node = self._nodes[slot.host]
            actor_class = ray.remote(num_cpus=0, max_restarts=-1)(Builder)
            actor = actor_class.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
                runtime_env={"env_vars": _ENV},
            ).remote(self._artifacts if slot.host == host_name() else None)
            self._started[slot] = _Started(node.id, actor)
        return self._started[slot].actor

    def shun(self, actor: Any) -> None:
        """Build elsewhere for a while than where a compile actor died."""
        for slot, started in self._started.items():
            if started.actor is actor:
                self._shunned[slot] = time.monotonic() + SHUNNED_S

    def expire(self) -> None:
        """A node may have died: `look_again` looks the next time that it is asked to."""
        self._looked_s = 0.0

    def look_again(self) -> None:
        """Drop the machines that died and take in those that joined, every `NODES_S`."""
        if self._own_cores is None and time.monotonic() >= self._looked_s + NODES_S:
            self.look(0.0)
            self._looked_s = time.monotonic()

    def look(self, timeout_s: float) -> None:
        """The same now.

        timeout_s: for how long each new one is waited for; the next look has what comes later.
        """
        alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        self._known = {id: node for id, node in self._known.items() if id in alive}
        self._probes = {id: probe for id, probe in self._probes.items() if id in alive}
        self._started = {slot: s for slot, s in self._started.items() if s.node in alive}
        for id in alive:
            if id not in self._known and self._own_cores is not None:
                self._known[id] = _Node(id, host_name(), tuple(sorted(self._own_cores)))
            elif id not in self._known:
                self._probe(id, timeout_s)
        # Two raylets of one machine have the same cores: one serves.
        self._nodes = {node.host: node for node in reversed(self._known.values())}
        self._slots = [
            Place(node.host, frozenset({core}))
            for node in self._nodes.values()
            for core in node.cores[: self._workers]
        ]

    def _probe(self, id: str, timeout_s: float) -> None:
        """Ask a node what it is, unless it was asked already, and take it in once it answers."""
        if id not in self._probes:
            where = NodeAffinitySchedulingStrategy(id, soft=False)
            probe = ray.remote(num_cpus=0, max_retries=0)(_where)
            self._probes[id] = probe.options(scheduling_strategy=where).remote()
        if not ray.wait([self._probes[id]], timeout=timeout_s)[0]:
            return
        with suppress(RayError):  # it is asked again
            host, cores = ray.get(self._probes.pop(id))
            self._known[id] = _Node(id, host, tuple(cores))


def _where() -> tuple[str, list[int]]:
    return host_name(), sorted(os.sched_getaffinity(0))
